"""Requests for runs: partitions in ranges of neighbours, none that has a run, each asked for by one only."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterRunStatus

from lago_pipeline.components.assets import asset_keys
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.ledger.asks import ask
from lago_pipeline.ledger.database import writing
from lago_pipeline.ledger.registry import RegisteredSync, activate
from lago_pipeline.partition import Partition
from lago_pipeline.sync import Sync
from lago_pipeline.watch.closing import Due

SYNC_TAG = "lago/sync"
REASON_TAG = "lago/reason"
MOST_RUNS = 20
"""Runs that one tick asks for at the most, so that a year of gaps does not fill the queue at once."""

SCHEDULED_PRIORITY = 1
"""Of the open partition's runs: before backfills, which Dagster starts at 0, and runs that catch up."""

_PRIORITY_TAG = "dagster/priority"
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


def ranges(partitions: Iterable[Partition], most: int) -> Iterator[list[Partition]]:
    """Partitions, in order, in runs of neighbours of at most `most` each."""
    chunk: list[Partition] = []
    for partition in partitions:
        if chunk and (len(chunk) >= most or chunk[-1].end_ms != partition.start_ms):
            yield chunk
            chunk = []
        chunk.append(partition)
    if chunk:
        yield chunk


def range_tags(keys: Sequence[str]) -> dict[str, str]:
    """The run tags that ask for a range of partitions."""
    return {_RANGE_START: keys[0], _RANGE_END: keys[-1]}


def chunks(due: Sequence[Due], most: int) -> Iterator[list[Due]]:
    """Due partitions as runs: neighbours together, but one whose last run brought no result by itself.

    So a partition that cannot be extracted does not keep its neighbours from being billed.
    """
    by_partition = {each.partition.start_ms: each for each in due}
    for chunk in ranges([each.partition for each in due if not each.is_alone], most):
        yield [by_partition[partition.start_ms] for partition in chunk]
    for each in due:
        if each.is_alone:
            yield [each]


def under_way(instance: dg.DagsterInstance, sync: Sync, wiring: Wiring) -> set[str]:
    """The keys of partitions that have a run queued or started, of the job or of a backfill."""
    deliveries = asset_keys(sync)[2]
    keys: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        if run.tags.get(SYNC_TAG) == sync.name or deliveries in (run.asset_selection or ()):
            keys.update(run_partition_keys(run, wiring))
    return keys


def run_partition_keys(run: dg.DagsterRun, wiring: Wiring) -> list[str]:
    """The partitions that a run is for, by its tags."""
    if key := run.tags.get(_PARTITION):
        return [key]
    start, end = run.tags.get(_RANGE_START), run.tags.get(_RANGE_END)
    if not start or not end:
        return []
    return list(wiring.partitions_def.get_partition_keys_in_range(dg.PartitionKeyRange(start, end)))


@dataclass(frozen=True, slots=True)
class Tick:
    """One evaluation of a schedule or sensor of a sync, at an instant in epoch milliseconds."""

    wiring: Wiring
    ledger: sa.Engine
    known: RegisteredSync
    busy: Collection[str]
    now_ms: int

    def ask(
        self,
        due: Sequence[Due],
        *,
        reason: str,
        mark: object,
        is_free: Callable[[Due], bool] = lambda _: False,
    ) -> list[dg.RunRequest]:
        """Requests for due partitions, noted in the ledger; without those that have a run or were asked for.

        `is_free` tells those that need no note, since every tick asks for them. `mark` makes the run keys of
        this tick unlike those of any other.
        """
        waiting = [each for each in due if each.partition.key not in self.busy]
        free_first = sorted(chunks(waiting, self.wiring.per_run), key=lambda chunk: not is_free(chunk[-1]))
        requests: list[dg.RunRequest] = []
        for chunk in free_first[:MOST_RUNS]:
            priority = SCHEDULED_PRIORITY if is_free(chunk[-1]) else 0
            parts = ranges(self._taken(chunk, is_free), self.wiring.per_run)
            requests += [_request(part, reason, mark, priority) for part in parts]
        return requests

    def _taken(self, chunk: Sequence[Due], is_free: Callable[[Due], bool]) -> list[Partition]:
        with writing(self.ledger) as connection:
            return [
                each.partition
                for each in chunk
                if is_free(each)
                or ask(connection, self.known.sync_id, each.partition, each.asked_ms, self.now_ms)
            ]


@contextmanager
def tick(
    context: dg.ScheduleEvaluationContext | dg.SensorEvaluationContext,
    sync: Sync,
    wiring: Wiring,
    now_ms: int,
) -> Iterator[Tick]:
    """Open the ledger for one evaluation; the first one ever is the sync's first start."""
    with wiring.ledger_of(context.resources).opened() as ledger:
        known = activate(ledger, sync, now_ms)
        yield Tick(wiring, ledger, known, under_way(context.instance, sync, wiring), now_ms)


def _request(partitions: Sequence[Partition], reason: str, mark: object, priority: int) -> dg.RunRequest:
    keys = [partition.key for partition in partitions]
    tags = {REASON_TAG: reason, _PRIORITY_TAG: str(priority)}
    run_key = f"{reason} {keys[0]}..{keys[-1]}@{mark}"
    if len(keys) == 1:
        return dg.RunRequest(partition_key=keys[0], run_key=run_key, tags=tags)
    return dg.RunRequest(run_key=run_key, tags={**tags, **range_tags(keys)})
