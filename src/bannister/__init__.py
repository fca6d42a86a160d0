"""Bannister: a guard rail for machine-learning releases."""

__version__ = "0.1.0"
