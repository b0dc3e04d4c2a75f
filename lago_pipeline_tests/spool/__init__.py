"""Promises of the spool: files that are whole, sorted and exact."""
