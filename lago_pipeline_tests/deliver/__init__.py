"""Promises of the delivery: every event accepted once, or left with a reason."""
