"""Tests of the demo's data and of what it creates in Lago."""
