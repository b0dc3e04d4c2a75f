"""What is due and why: partitions not closed, rows that came late, and what a person must hear of."""
