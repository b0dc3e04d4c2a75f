"""Partition files between the steps: Parquet, sorted by row key, written aside and renamed."""
