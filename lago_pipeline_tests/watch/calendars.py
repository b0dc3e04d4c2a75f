"""A calendar of UTC days for tests without Dagster."""

from dataclasses import dataclass
from datetime import timedelta

from lago_pipeline.partition import Partition, epoch_ms, from_epoch_ms

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Days:
    """Every UTC day from the epoch on, or from a later first one."""

    first_ms: int = 0

    def at(self, instant_ms: int) -> Partition | None:
        """The day that holds an instant."""
        if instant_ms < self.first_ms:
            return None
        start = from_epoch_ms(instant_ms - instant_ms % DAY_MS)
        return Partition(f"{start:%Y-%m-%d}", start, start + timedelta(days=1))

    def within(self, start_ms: int, end_ms: int) -> list[Partition]:
        """The days that begin within a span."""
        first = -(-max(start_ms, self.first_ms) // DAY_MS) * DAY_MS
        found = [self.at(instant) for instant in range(first, end_ms, DAY_MS)]
        return [day for day in found if day and epoch_ms(day.start) >= start_ms]
