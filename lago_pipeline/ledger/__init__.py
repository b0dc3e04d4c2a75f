"""The ledger: what Lago has, what it has not, and why, on SQLite or PostgreSQL."""
