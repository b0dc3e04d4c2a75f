"""A delivery that takes long says how far it is, every few seconds."""

from collections.abc import Callable
from dataclasses import dataclass

EVERY_SECONDS = 5.0


@dataclass(slots=True)
class Progress:
    """Counts events with an outcome and tells `say` the rate and the share done."""

    label: str
    total: int
    say: Callable[[str], None]
    clock: Callable[[], float]
    done: int = 0
    _started: float = 0.0
    _said_at: float = 0.0

    def __post_init__(self) -> None:
        self._started = self._said_at = self.clock()

    def add(self, events: int) -> None:
        """Count events that reached an outcome."""
        self.done += events
        now = self.clock()
        if now - self._said_at >= EVERY_SECONDS:
            self._said_at = now
            rate = self.done / (now - self._started)
            left = (self.total - self.done) / rate if rate else 0.0
            share = 100 * self.done / self.total if self.total else 100.0
            self.say(
                f"{self.label}: {self.done:,} of {self.total:,} events ({share:.0f} %), {rate:,.0f}/s, "
                f"about {left:,.0f} s left"
            )
