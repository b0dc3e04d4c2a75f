"""Backfills of past periods: through the daemon, and by `lago-pipeline run --from --to`."""
