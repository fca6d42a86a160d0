"""Metrics: what telemetry and users report, kept for reading and for alarms."""
