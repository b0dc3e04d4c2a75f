"""A long delivery as the UI shows it: an observation a minute, beside the lines in the run's log."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from lago_pipeline.instrumentation import ProgressDetails, on_progress

_EVERY_SECONDS = 60.0


@contextmanager
def observed(context: dg.AssetExecutionContext, sync: str) -> Iterator[None]:
    """Note each minute how far the partition is that this run delivers."""
    noted: dict[str, float] = {}

    def note(progress: ProgressDetails) -> None:
        if progress.sync != sync or progress.seconds - noted.get(progress.partition, 0.0) < _EVERY_SECONDS:
            return
        noted[progress.partition] = progress.seconds
        context.log_event(
            dg.AssetObservation(
                context.asset_key,
                partition=progress.partition,
                description=f"{progress.done:,} of {progress.total:,} events",
                metadata={
                    "lago/done": progress.done,
                    "lago/total": progress.total,
                    "lago/events_per_second": progress.events_per_second,
                    "lago/seconds_left": progress.seconds_left,
                    "lago/in_flight_limit": progress.limit,
                },
            )
        )

    remove = on_progress(note)
    try:
        yield
    finally:
        remove()
