"""Tests of the render room: from usage rows to Lago's events."""
