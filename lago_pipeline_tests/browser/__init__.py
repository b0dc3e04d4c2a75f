"""A real browser in front of a real Dagster and the sandbox's events page."""
