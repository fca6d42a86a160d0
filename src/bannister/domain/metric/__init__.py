"""Metrics: identities, datapoints, statistics, and the one-second summaries of each instance."""
