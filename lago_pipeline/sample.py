"""A few rows of a partition, the events they become, and how Lago answers to them."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import sqlalchemy as sa

from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.deliver.run import planned_range
from lago_pipeline.deliver.send import INGESTION_SECONDS, BatchSender
from lago_pipeline.deliver.settle import Settler
from lago_pipeline.event import Event, Events, events_of
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.events import KeyRange, Line, mark_sending, read_lines, read_marks
from lago_pipeline.ledger.lock import partition_lock
from lago_pipeline.ledger.partitions import open_partition
from lago_pipeline.ledger.registry import register
from lago_pipeline.ledger.runs import start_run
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.partition import Partition
from lago_pipeline.pipeline import Pipeline
from lago_pipeline.plan.diff import Plan
from lago_pipeline.render.partition_events import RenderCounts, partition_events
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.report import Status
from lago_pipeline.source.query import SourceReader
from lago_pipeline.spool.rows import StoredRow, StoredRows, stored_rows

ACCEPTED_BEFORE = "accepted before"


@dataclass(frozen=True, slots=True)
class Sample:
    """A source row by column, and the event it becomes."""

    row: Mapping[str, object]
    event: Event


def sample_rows(pipeline: Pipeline, partition: Partition, warehouse: sa.Engine, most: int) -> list[Sample]:
    """The first rows of a partition as the source gives them, rendered; raises as `Pipeline.extract`.

    The whole partition is read for rows that share their keys: a row that a run would refuse as a
    duplicate is refused here too.
    """
    reader = SourceReader(warehouse, pipeline.sync, pipeline.run_id)
    rows = reader.probe(partition)
    pipeline.template.check_columns(rows.columns)
    taken: list[StoredRow] = []
    keys: set[str] = set()
    for chunk in reader.stream(rows):
        stored = list(stored_rows(chunk, rows.columns, pipeline.sync.source.primary_key))
        keys = keys or {row.row_key for row in stored[:most]}
        taken += [row for row in stored if row.row_key in keys]
    stored = sorted(taken, key=lambda row: row.row_key)
    renderer = EventRenderer(pipeline.sync, pipeline.template, partition)
    together = StoredRows.of(stored, len(rows.columns))
    rendered = partition_events(renderer, rows.columns, [together], RenderCounts())
    events = chain.from_iterable(map(events_of, rendered))
    by_key = {row.row_key: dict(zip(rows.columns, row.values(), strict=True)) for row in stored}
    return [Sample(by_key[event.row_key], event) for event in events]


def send_samples(
    pipeline: Pipeline, partition: Partition, samples: Sequence[Sample], ledger: sa.Engine, lago: LagoClient
) -> Iterator[str]:
    """Deliver samples that are not accepted yet, one a request; yields what became of each.

    A sample is real usage: it is billed, and a later run of its partition finds it unchanged.
    """
    sync = pipeline.sync
    organization = lago.organization()
    sync_id = register(ledger, sync, lago.api_url, organization).sync_id
    sender = BatchSender(lago, sync.delivery, stop=threading.Event())
    with ExitStack() as stack:
        connection = stack.enter_context(partition_lock(ledger, sync_id, partition, pipeline.run_id))
        writer = stack.enter_context(LedgerWriter(ledger, connection))
        events = [sample.event for sample in samples]
        plan = planned_range(ledger, sync_id, partition, Events.of(events), KeyRange(None, None))
        reads_back = organization.events_store == "clickhouse"
        run, lines, is_unclear = writer.now(partial(_begin, sync_id, pipeline, partition, plan))
        before = {line.identity: line for line in lines}
        if is_unclear and reads_back:
            sender.sleep(INGESTION_SECONDS)
        settler = Settler(
            writer, sync_id, partition, sync.transaction_id_prefix, run, pipeline.clock, pipeline.now_ms
        )
        for event in events:
            single = Events.of([event])
            outcomes = [
                replace(outcome, events=single) for outcome in plan.refused if event in outcome.events
            ]
            line = before.get(event.identity)
            is_same = line is not None and line.fingerprint == event.fingerprint
            words = ACCEPTED_BEFORE if is_same else "changed since it was accepted: not sent"
            may_be_held = is_unclear or (line is not None and line.status == Status.CONFLICT)
            if event in plan.to_send:
                result = sender.reader.find(single) if may_be_held and reads_back else BatchResult()
                if not result.outcomes and not result.pending:
                    result = sender.deliver(single, reads_back=reads_back)
                if result.error is not None:
                    raise result.error
                outcomes, words = result.outcomes, result.pending_words
            settler.add(outcomes)
            settler.flush()
            writer.wait()
            yield next((outcome.reasons[0] or outcome.status.value for outcome in outcomes), words)


def _begin(
    sync_id: int, pipeline: Pipeline, partition: Partition, plan: Plan, connection: sa.Connection
) -> tuple[int, list[Line], bool]:
    """Record the run and what it is going to send.

    Returns its number, the partition's lines, and whether an earlier run may have sent more than they say.
    """
    now_ms = pipeline.now_ms()
    open_partition(connection, sync_id, partition, now_ms)
    run = start_run(connection, sync_id, partition, pipeline.run_id, now_ms)
    is_unclear = bool(read_marks(connection, sync_id, partition))
    keys = [event.row_key for event in plan.to_send] or [""]
    mark_sending(connection, sync_id, partition, run, min(keys), max(keys), now_ms)
    return run, read_lines(connection, sync_id, partition, KeyRange(None, None)), is_unclear
