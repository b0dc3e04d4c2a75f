"""A rate limit as Lago's cloud documents it: so many requests a window, announced in three headers."""

import math

from lago_pipeline.sandbox.config import RateLimit

Header = tuple[bytes, bytes]


class Limiter:
    """Counts the requests of fixed windows. Times are seconds of any monotonic clock."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._ends = -math.inf
        self._used = 0

    def take(self, now: float) -> tuple[bool, list[Header]]:
        """Count one request: whether it is within the limit, and the headers of its answer."""
        if now >= self._ends:
            self._ends, self._used = now + self._limit.per_seconds, 0
        allowed = self._used < self._limit.requests
        self._used += allowed
        left = self._limit.requests - self._used
        return allowed, headers(self._limit.requests, left, self._ends - now)


def headers(limit: int, remaining: int, reset_seconds: float) -> list[Header]:
    """Lago's three headers; the reset is in seconds from now, not a point in time."""
    values = {"limit": limit, "remaining": remaining, "reset": math.ceil(reset_seconds)}
    return [(f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in values.items()]
