"""Durable truth: resource rows with revisions, and an append-only journal of events and decisions."""
