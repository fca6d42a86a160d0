"""Captured traffic: what to capture, one captured exchange, and the record that is written of it."""
