"""Comparing a shadow's answers with production's: one pair at a time, and many as a tally. Pure."""
