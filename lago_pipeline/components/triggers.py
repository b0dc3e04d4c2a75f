"""What starts a sync by itself: its job, and the schedule for the open partition and those not closed."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterRunStatus

from lago_pipeline.components.assets import asset_keys
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.partitions import PartitionRecord, State, read_partitions
from lago_pipeline.ledger.registry import activate, find
from lago_pipeline.partition import Partition, epoch_ms
from lago_pipeline.sync import Sync

SYNC_TAG = "lago/sync"
REASON_TAG = "lago/reason"
_PARTITION = "dagster/partition"
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"
_UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def sync_triggers(sync: Sync, wiring: Wiring, cron: str | None) -> dg.Definitions:
    """The job `<sync>_sync` and, with a cron line, its schedule.

    The job runs in one process, since a process a step costs more than the steps. The schedule asks for the
    open partition and for those since the sync's first start that are not closed.
    """
    job = dg.define_asset_job(
        f"{sync.name}_sync",
        selection=dg.AssetSelection.assets(*asset_keys(sync)),
        executor_def=dg.in_process_executor,
        tags={SYNC_TAG: sync.name},
        description=f"Extract, render and deliver the usage of {sync.name}.",
    )
    if cron is None:
        return dg.Definitions(jobs=[job])
    schedule = dg.ScheduleDefinition(
        name=f"{sync.name}_schedule",
        cron_schedule=cron,
        job=job,
        execution_fn=_due_runs(sync, wiring),
        execution_timezone=wiring.partitions_def.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        required_resource_keys={wiring.ledger},
        description=f"The open partition of {sync.name}, and those not yet closed.",
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])


def _due_runs(
    sync: Sync, wiring: Wiring
) -> Callable[[dg.ScheduleEvaluationContext], Iterator[dg.RunRequest | dg.SkipReason]]:
    def due(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        now = context.scheduled_execution_time
        with getattr(context.resources, wiring.ledger).opened() as ledger:
            activate(ledger, sync, epoch_ms(now))
            partitions = due_partitions(ledger, sync, wiring, now)
        busy = _under_way(context.instance, sync, wiring)
        keys = [partition.key for partition in partitions if partition.key not in busy]
        if not keys:
            yield dg.SkipReason("every partition due has a run already, or waits for its next attempt")
        order = wiring.partitions_def.get_partition_keys(current_time=now)
        for chunk in ranges(keys, order, wiring.per_run):
            yield _request(chunk, now)

    return due


def ranges(keys: Sequence[str], order: Sequence[str], most: int) -> Iterator[list[str]]:
    """Keys in runs of neighbours, each of at most `most`; `order` is that of all keys."""
    position = {key: index for index, key in enumerate(order)}
    chunk: list[str] = []
    for key in sorted(keys, key=position.__getitem__):
        if chunk and (len(chunk) >= most or position[key] != position[chunk[-1]] + 1):
            yield chunk
            chunk = []
        chunk.append(key)
    if chunk:
        yield chunk


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """The run tags that ask for a range of partitions."""
    return {_RANGE_START: keys[0], _RANGE_END: keys[-1]}


def due_partitions(
    ledger: sa.Engine, sync: Sync, wiring: Wiring, now: datetime | None = None
) -> list[Partition]:
    """The open partition, and those since the sync's first start that are not closed.

    Unsettled ones are left out until their next attempt is due. `now` is by default the current time.
    """
    now = now or datetime.now(UTC)
    known = find(ledger, sync)
    activated_ms = known.activated_at_ms if known and known.activated_at_ms is not None else epoch_ms(now)
    every = wiring.partitions(wiring.partitions_def.get_partition_keys(current_time=now))
    partitions = [partition for partition in every if partition.end_ms > activated_ms]
    if known is None or not partitions:
        return partitions
    with reading(ledger) as connection:
        records = read_partitions(connection, known.sync_id, partitions[0].start_ms)
    return list(_due(partitions, records, epoch_ms(now)))


def _due(
    partitions: Sequence[Partition], records: Sequence[PartitionRecord], now_ms: int
) -> Iterator[Partition]:
    known = {record.partition_start: record for record in records}
    for partition in partitions:
        record = known.get(partition.start_ms)
        is_closed = record is not None and record.state is State.CLOSED
        waits = record is not None and (record.next_attempt_ms or 0) > now_ms
        if partition.holds(now_ms) or not (is_closed or waits):
            yield partition


def _under_way(instance: dg.DagsterInstance, sync: Sync, wiring: Wiring) -> set[str]:
    """The keys of partitions that have a run queued or started, of the job or of a backfill."""
    deliveries = asset_keys(sync)[2]
    keys: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        if run.tags.get(SYNC_TAG) != sync.name and deliveries not in (run.asset_selection or ()):
            continue
        if key := run.tags.get(_PARTITION):
            keys.add(key)
        if (start := run.tags.get(_RANGE_START)) and (end := run.tags.get(_RANGE_END)):
            keys.update(wiring.partitions_def.get_partition_keys_in_range(dg.PartitionKeyRange(start, end)))
    return keys


def _request(keys: list[str], now: datetime) -> dg.RunRequest:
    tags = {REASON_TAG: "schedule"}
    run_key = f"{keys[0]}..{keys[-1]}@{now.isoformat()}"
    if len(keys) == 1:
        return dg.RunRequest(partition_key=keys[0], run_key=run_key, tags=tags)
    return dg.RunRequest(run_key=run_key, tags={**tags, **range_tags(keys)})
