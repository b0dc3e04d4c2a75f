"""When the next request may go: an even rate, and a pause for all workers when Lago asks for one.

Written here because the pause is shared with the rate, and clock and sleep are parameters: the rate-limit
libraries bring their own clocks and know no pause.
"""

import threading
from collections.abc import Callable


class Pace:
    """Gives each caller its turn; `requests_per_second` None means no limit but the pauses."""

    def __init__(
        self,
        requests_per_second: float | None,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self._interval = 1.0 / requests_per_second if requests_per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0
        self.throttled_seconds = 0.0

    def wait_turn(self) -> None:
        """Return when the caller may send its request."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)

    def pause(self, seconds: float) -> None:
        """Let no request go for so long: Lago said so."""
        with self._lock:
            now = self._clock()
            before = max(self._next, now)
            self._next = max(self._next, now + seconds)
            self.throttled_seconds += self._next - before
