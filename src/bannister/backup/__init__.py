"""Backups of a data directory: one file with everything that cannot be made again."""
