"""Instances: running copies of a model server, behind one interface for processes, and later pods and containers."""
