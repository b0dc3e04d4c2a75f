"""When the next request may go: an even rate, ours or Lago's, and a pause for all when Lago asks for one.

Written here because the pause is shared with the rate, and clock and sleep are parameters: the rate-limit
libraries bring their own clocks and know no pause.
"""

import threading
from collections.abc import Callable

from lago_pipeline.lago.answers import Budget


class Pace:
    """Gives each caller its turn; `requests_per_second` None means no limit but the pauses.

    Once `is_over`, nobody waits any more.
    """

    def __init__(
        self,
        requests_per_second: float | None,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._interval = 1.0 / requests_per_second if requests_per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._is_over = is_over
        self._lock = threading.Lock()
        self._next = 0.0
        self._told_interval = 0.0
        self._told_until = 0.0
        self._paused_until = 0.0
        self.throttled_seconds = 0.0

    def wait_turn(self) -> None:
        """Return when the caller may send its request; a pause that comes while it waits holds it too."""
        while (seconds := self._taken_turn()) > 0:
            self._sleep(seconds)
            with self._lock:
                if self._clock() >= self._paused_until or self._is_over():
                    return

    def _taken_turn(self) -> float:
        """Take the next turn; returns how many seconds it is away."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            told = self._told_interval if turn < self._told_until else 0.0
            self._next = turn + max(self._interval, told)
            return turn - now

    def heed(self, budget: Budget) -> None:
        """Spread what Lago still allows over the time until it allows more, before it must answer 429."""
        if budget.remaining <= 0:
            self.pause(budget.reset_seconds)
            return
        with self._lock:
            self._told_interval = budget.reset_seconds / budget.remaining
            self._told_until = self._clock() + budget.reset_seconds

    def pause(self, seconds: float) -> None:
        """Let no request go for so long: Lago said so."""
        with self._lock:
            now = self._clock()
            before = max(self._next, now)
            self._next = max(self._next, now + seconds)
            self._paused_until = max(self._paused_until, now + seconds)
            self.throttled_seconds += self._next - before
