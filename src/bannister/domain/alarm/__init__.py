"""Alarms: what they watch, and how datapoints become a state."""
