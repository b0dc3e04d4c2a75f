"""Promises of the plan: what is new, what is settled, what has changed."""
