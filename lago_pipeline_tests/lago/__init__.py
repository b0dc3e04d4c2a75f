"""Promises of what speaks to Lago: what its answers mean, and what goes over the wire."""
