"""Promises of the local Lago."""
