"""Sending events to Lago: batches in flight, paced and retried, each outcome settled in the ledger."""
