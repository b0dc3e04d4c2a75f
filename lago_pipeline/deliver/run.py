"""One run of one partition: plan a range of keys, send it, settle it, and go on to the next."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import sqlalchemy as sa

from lago_pipeline.deliver.batches import batches
from lago_pipeline.deliver.flight import Flight, Work
from lago_pipeline.deliver.interrupts import held_back
from lago_pipeline.deliver.progress import Progress
from lago_pipeline.deliver.reader import lookups
from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.deliver.send import INGESTION_SECONDS, BatchSender
from lago_pipeline.deliver.settle import Settler
from lago_pipeline.deliver.tally import Tally
from lago_pipeline.event import Event, Events
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.events import (
    KeyRange,
    Line,
    forget,
    mark_sending,
    read_elsewhere,
    read_lines,
    read_marks,
)
from lago_pipeline.partition import Partition
from lago_pipeline.plan.diff import Plan, plan_range, unbilled_keys, unchanged_plan
from lago_pipeline.report import Status
from lago_pipeline.spool.events import EventsFile
from lago_pipeline.sync import Delivery


def planned_range(
    engine: sa.Engine, sync_id: int | None, partition: Partition, events: Events, keys: KeyRange
) -> Plan:
    """Compare a range of keys with the ledger; `sync_id` is None for a sync that it does not know yet."""
    if sync_id is None:
        return plan_range(events, [], {})
    with reading(engine) as connection:
        lines = read_lines(connection, sync_id, partition, keys)
        if plan := unchanged_plan(events, lines):
            return plan
        elsewhere = read_elsewhere(connection, sync_id, partition, unbilled_keys(events, lines))
    return plan_range(events, lines, elsewhere)


def planned_groups(
    engine: sa.Engine, sync_id: int | None, partition: Partition, file: EventsFile
) -> Iterator[tuple[Events, Plan]]:
    """Each group of a file with its plan, planned as it is taken; the last plan is of the keys after them."""
    after: str | None = None
    for events in chain(file.groups(), [Events.of([])]):
        keys = KeyRange(after, events[-1].row_key if events else None)
        yield events, planned_range(engine, sync_id, partition, events, keys)
        after = keys.last


@dataclass(slots=True)
class PartitionRun:
    """Delivers the events of one open file; the caller holds the partition's lock.

    All writing goes through the settler's writer, in the order in which it is asked for.
    """

    settler: Settler
    sender: BatchSender
    delivery: Delivery
    progress: Progress
    reads_back_unknown: bool
    tally: Tally = field(default_factory=Tally)
    _duplicates: list[Event] = field(default_factory=list)

    def deliver(self, file: EventsFile) -> None:
        """Bring every event of the file to its final state, or count it as pending.

        An interrupt is raised once what was in flight is settled; the groups that are left are not counted.
        """
        with held_back(self.sender.stop) as interrupted:
            flight = Flight(self.delivery.concurrency, self.sender.stop)
            try:
                flight.run(self._works(file, interrupted), self._take)
                while self._duplicates:
                    flight.run(self._proofs(), self._take)
            finally:
                flight.close()
                self.settler.flush()
                self.settler.writer.wait()

    def _works(self, file: EventsFile, interrupted: threading.Event) -> Iterator[Work]:
        """All that is to be done, group by group: the next one is planned while others are in flight."""
        marks = self._marks()
        if marks and self.reads_back_unknown:
            self.sender.sleep(INGESTION_SECONDS)
        settler = self.settler
        for events, plan in planned_groups(settler.writer.engine, settler.sync_id, settler.partition, file):
            if interrupted.is_set():
                return
            yield from self._group(events, plan, marks)

    def _group(self, events: Events, plan: Plan, marks: list[tuple[str, str]]) -> Iterator[Work]:
        self.tally.plan(plan, len(events))
        self.progress.refused(plan.refused)
        self._progressed(len(events) - len(plan.to_send))
        self._forget(plan.vanished)
        self.settler.add(plan.refused)
        to_send = plan.to_send
        if self.reads_back_unknown:
            to_send = self._read_back(to_send, marks, plan.refused_before)
        if to_send and not self.sender.stop.is_set():
            self._mark(to_send)
        yield from (
            (batch, partial(self._send, batch)) for batch in batches(to_send, self.delivery.batch_size)
        )
        yield from self._proofs()

    def _send(self, batch: Events) -> BatchResult:
        return self.sender.send(batch, reads_back=self.reads_back_unknown)

    def _proofs(self) -> Iterator[Work]:
        """Reading back, many at once, what Lago has called duplicates so far."""
        duplicates, self._duplicates = self._duplicates, []
        prove = self.sender.reader.prove
        return ((events, partial(prove, events)) for events in lookups(duplicates))

    def _forget(self, vanished: Sequence[Line]) -> None:
        if vanished:
            settler = self.settler
            settler.writer.now(
                partial(forget, sync_id=settler.sync_id, partition=settler.partition, lines=vanished)
            )

    def _read_back(
        self, events: Events, marks: list[tuple[str, str]], refused_before: Sequence[Line]
    ) -> Events:
        """Settle what Lago may hold already; returns the events that it does not hold.

        An interrupted run may have sent those within its marks. Under the id of a conflict Lago holds another
        event, beside which it would take ours, too.
        """
        conflicts = {line.identity for line in refused_before if line.status == Status.CONFLICT}
        if not marks and not conflicts:
            return events
        unknown = [
            event
            for event in events
            if event.identity in conflicts or any(first <= event.row_key <= last for first, last in marks)
        ]
        known = {event.identity for event in unknown}

        def taken(result: BatchResult) -> None:
            known.difference_update(event.identity for event in result.missing)
            self._take(result)

        flight = Flight(self.delivery.concurrency, self.sender.stop)
        try:
            find = self.sender.reader.find
            flight.run(((group, partial(find, group)) for group in lookups(unknown)), taken)
        finally:
            flight.close()
        return events.at([index for index, each in enumerate(events.identities()) if each not in known])

    def _mark(self, events: Events) -> None:
        settler = self.settler
        settler.writer.now(
            partial(
                mark_sending,
                sync_id=settler.sync_id,
                partition=settler.partition,
                run=settler.run,
                first=events[0].row_key,
                last=events[-1].row_key,
                now_ms=settler.now_ms(),
            )
        )

    def _marks(self) -> list[tuple[str, str]]:
        with reading(self.settler.writer.engine) as connection:
            return read_marks(connection, self.settler.sync_id, self.settler.partition)

    def _progressed(self, events: int) -> None:
        self.progress.add(events, self.sender.concurrency.limit)

    def _take(self, result: BatchResult) -> None:
        """One batch's result, in the run's own thread: counted, settled, and a reason to stop noticed."""
        self._duplicates += result.duplicates
        self.tally.take(result)
        if self.tally.stopped is not None:
            self.sender.stop.set()
        self.progress.took(result)
        self._progressed(result.settled)
        self.settler.add(result.outcomes)
