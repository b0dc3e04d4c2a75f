"""From usage rows to Lago's events: Liquid templates, typed values, and Lago's rules for one event."""
