"""Millions of short-lived tuples, and Python's collector of cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 100_000


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles after 100,000 allocations instead of 700.

    Rows and events have none; walking through those that are held took half of a delivery's time.
    """
    first, *others = gc.get_threshold()
    gc.set_threshold(max(first, _ALLOCATIONS), *others)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)
