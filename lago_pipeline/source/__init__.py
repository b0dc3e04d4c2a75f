"""From a database to usage rows: windows, queries and columns, one dialect at a time."""
