"""How one sync is tied into Dagster."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from lago_pipeline.partition import Partition


@dataclass(frozen=True, slots=True)
class Wiring:
    """A sync's partitions, the keys of its resources, and the assets upstream of it."""

    partitions_def: dg.TimeWindowPartitionsDefinition
    per_run: int
    warehouse: str
    lago: str
    ledger: str
    upstream: tuple[dg.AssetKey, ...]

    def partition(self, key: str) -> Partition:
        """The window of a partition key; keys and bounds come from Dagster, never from a format string."""
        window = self.partitions_def.time_window_for_partition_key(key)
        return Partition(key, window.start, window.end)

    def partitions(self, keys: Iterable[str]) -> Iterator[Partition]:
        """The windows of several keys."""
        return (self.partition(key) for key in keys)
