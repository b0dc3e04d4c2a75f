"""The ledger's schema in steps, run by Alembic."""
