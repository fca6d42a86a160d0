"""Metric math: expressions over time series, as in CloudWatch.

Text becomes a tree (`parser`, `tree`), a set of queries is checked for what its trees refer to and yield (`queries`, `kinds`), and a tree is
evaluated over series (`evaluation`, `functions`). `search` selects metrics, `label` writes the labels of results. Alarms need `queries` alone.
"""
