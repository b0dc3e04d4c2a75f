"""Promises of the source: which rows a partition reads, from which database, and what it says else."""
