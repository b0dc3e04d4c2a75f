"""Pure planning: what a partition's events and the ledger say must be done."""
