"""Promises of the ledger, on SQLite and PostgreSQL alike."""
