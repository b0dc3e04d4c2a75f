"""A rate limit as Lago's cloud documents it: so many requests a window, announced in three headers."""

import math

from lago_pipeline.sandbox.config import RateLimit

Header = tuple[bytes, bytes]


class Limiter:
    """Counts an organisation's requests. Times are seconds of any monotonic clock."""

    def __init__(self, limit: RateLimit) -> None:
        self._events = _Window(limit.requests, limit.per_seconds)
        self._others = self._events if limit.others is None else _Window(limit.others, limit.per_seconds)

    def take(self, method: str, path: str, now: float) -> tuple[bool, list[Header]]:
        """Count one request: whether it is within the limit, and the headers of its answer."""
        is_events = method == "POST" and path.startswith("/events")
        return (self._events if is_events else self._others).take(now)


class _Window:
    """A fixed window, which the first request after its end begins anew."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._ends = -math.inf
        self._used = 0

    def take(self, now: float) -> tuple[bool, list[Header]]:
        if now >= self._ends:
            self._ends, self._used = now + self._seconds, 0
        allowed = self._used < self._size
        self._used += allowed
        return allowed, headers(self._size, self._size - self._used, self._ends - now)


def headers(limit: int, remaining: int, reset_seconds: float) -> list[Header]:
    """Lago's three headers; the reset is in seconds from now, not a point in time."""
    values = {"limit": limit, "remaining": remaining, "reset": math.ceil(reset_seconds)}
    return [(f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in values.items()]
