"""Tells the configured addresses of every event."""
