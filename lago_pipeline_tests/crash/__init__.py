"""Promises that hold when a run dies: killed, interrupted, or out of disk."""
