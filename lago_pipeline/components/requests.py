"""Requests for runs: partitions in ranges of neighbours, none that has a run, each asked for by one only."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterRunStatus

from lago_pipeline.components.assets import asset_keys
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.ledger.asks import ask
from lago_pipeline.ledger.database import writing
from lago_pipeline.ledger.registry import RegisteredSync, activate
from lago_pipeline.partition import Partition, epoch_ms
from lago_pipeline.sync import Sync
from lago_pipeline.watch.closing import Due

SYNC_TAG = "lago/sync"
REASON_TAG = "lago/reason"
MOST_RUNS = 20
"""Runs that one tick asks for at the most, so that a year of gaps does not fill the queue at once."""
MOST_DOUBTFUL_RUNS = 5
"""Of those whose last run brought no result, so that an outage does not end in a storm of runs."""
DEAD_AFTER_MS = 6 * 3_600_000

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
    """Due partitions as runs of neighbours: the open one by itself, the others in ranges of up to `most`.

    Ranges of partitions whose runs brought no result are cut in half each time, so that one which cannot be
    extracted does not keep its neighbours from being billed.
    """
    for key, group in groupby(due, key=lambda each: (each.is_open, each.fruitless_asks)):
        by_start = {each.partition.start_ms: each for each in group}
        partitions = [each.partition for each in by_start.values()]
        for chunk in ranges(partitions, max(1, most >> key[1])):
            yield [by_start[partition.start_ms] for partition in chunk]


def under_way(instance: dg.DagsterInstance, sync: Sync, wiring: Wiring) -> set[str]:
    """The keys of partitions that have a run queued or started, of the job or of a backfill.

    A run that says nothing for six hours has died with its machine: Dagster would call it started for ever.
    The partition's lock keeps two from delivering at once, should it live.
    """
    deliveries, keys = asset_keys(sync)[2], set[str]()
    for record in instance.get_run_records(dg.RunsFilter(statuses=_UNDER_WAY)):
        run = record.dagster_run
        is_own = run.tags.get(SYNC_TAG) == sync.name or deliveries in (run.asset_selection or ())
        if is_own and not _is_dead(record, wiring.now_ms()):
            keys.update(run_partition_keys(run, wiring))
    return keys


def _is_dead(record: dg.RunRecord, now_ms: int) -> bool:
    if record.dagster_run.status in (DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED):
        return False
    return now_ms - epoch_ms(record.update_timestamp) >= DEAD_AFTER_MS


def run_partition_keys(run: dg.DagsterRun, wiring: Wiring) -> list[str]:
    """The partitions that a run is for, by its tags; none of another cadence or of before a moved start."""
    is_known = wiring.partitions_def.has_partition_key
    if key := run.tags.get(_PARTITION):
        return [key] if is_known(key) else []
    start, end = run.tags.get(_RANGE_START), run.tags.get(_RANGE_END)
    if not start or not end or not is_known(start) or not is_known(end):
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

        `is_free` tells those that are asked for in any case, since every tick does. `mark` makes the run keys
        of this tick unlike those of any other.
        """
        waiting = [each for each in due if each.partition.key not in self.busy]
        requests: list[dg.RunRequest] = []
        for chunk in self._first(list(chunks(waiting, self.wiring.per_run))):
            priority = SCHEDULED_PRIORITY if chunk[0].is_open else 0
            parts = ranges(self._taken(chunk, is_free), self.wiring.per_run)
            requests += [_request(part, reason, mark, priority) for part in parts]
        return requests

    def _first(self, found: Sequence[list[Due]]) -> list[list[Due]]:
        """What one tick asks for: the open partition, then new ranges, then a few of those in doubt."""
        sure = [chunk for chunk in found if not chunk[0].fruitless_asks or chunk[0].is_open]
        doubtful = [chunk for chunk in found if chunk not in sure]
        sure.sort(key=lambda chunk: not chunk[0].is_open)
        return [*sure[:MOST_RUNS], *doubtful[:MOST_DOUBTFUL_RUNS]]

    def _taken(self, chunk: Sequence[Due], is_free: Callable[[Due], bool]) -> list[Partition]:
        with writing(self.ledger) as connection:
            return [
                each.partition
                for each in chunk
                if each.is_open
                or ask(connection, self.known.sync_id, each.partition, each.asked_ms, self.now_ms)
                or is_free(each)
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
