"""Lago's API as a client sees it: requests, answers, and what each answer means."""
