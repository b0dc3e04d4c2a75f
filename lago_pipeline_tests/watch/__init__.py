"""Tests of what is due, late and alarming."""
