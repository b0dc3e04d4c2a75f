"""How one sync is tied into Dagster."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import dagster as dg

from lago_pipeline.partition import Partition, epoch_ms, from_epoch_ms
from lago_pipeline.pipeline import wall_clock_ms
from lago_pipeline.resources import LagoResource, LedgerResource, WarehouseResource, resource_of


@dataclass(frozen=True, slots=True)
class Wiring:
    """A sync's partitions, the keys of its resources, the assets upstream of it, and its clock.

    It is the `Calendar` of the sync: keys and bounds come from Dagster, never from a format string. `now_ms`
    gives epoch milliseconds.
    """

    partitions_def: dg.TimeWindowPartitionsDefinition
    per_run: int
    warehouse: str
    lago: str
    ledger: str
    upstream: tuple[dg.AssetKey, ...]
    now_ms: Callable[[], int] = wall_clock_ms

    def warehouse_of(self, resources: object) -> WarehouseResource:
        """The sync's warehouse among the resources of a context."""
        return resource_of(resources, self.warehouse, WarehouseResource)

    def lago_of(self, resources: object) -> LagoResource:
        """The sync's Lago among the resources of a context."""
        return resource_of(resources, self.lago, LagoResource)

    def ledger_of(self, resources: object) -> LedgerResource:
        """The sync's ledger among the resources of a context."""
        return resource_of(resources, self.ledger, LedgerResource)

    def partition(self, key: str) -> Partition:
        """The window of a partition key."""
        window = self.partitions_def.time_window_for_partition_key(key)
        return Partition(key, window.start, window.end)

    def partitions(self, keys: Iterable[str]) -> Iterator[Partition]:
        """The windows of several keys."""
        return (self.partition(key) for key in keys)

    @property
    def first_ms(self) -> int:
        """The start of the first partition, in epoch milliseconds."""
        return epoch_ms(self.partitions_def.start)

    def at(self, instant_ms: int) -> Partition | None:
        """The partition that holds an instant; None before the first one."""
        with dg.partition_loading_context(effective_dt=from_epoch_ms(instant_ms)):
            key = self.partitions_def.get_last_partition_key()
        return self.partition(key) if key else None

    def within(self, start_ms: int, end_ms: int) -> list[Partition]:
        """The partitions that begin at `start_ms` or later, and before `end_ms`, in order."""
        first_ms = max(start_ms, self.first_ms)
        if first_ms >= end_ms:
            return []
        window = dg.TimeWindow(from_epoch_ms(first_ms), from_epoch_ms(end_ms))
        found = self.partitions(self.partitions_def.get_partition_keys_in_time_window(window))
        return [partition for partition in found if first_ms <= partition.start_ms < end_ms]
