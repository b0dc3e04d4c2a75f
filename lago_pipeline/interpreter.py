"""How Python collects garbage and shares its time among threads, where millions of tuples pass."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 100_000
_SWITCH_SECONDS = 0.001


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


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let a thread that comes back from the network or the ledger wait 1 ms for its turn instead of 5.

    While one plans, the others would stand still for most of their time.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
