"""The delivery of one partition from its first line in the ledger to its last."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from lago_pipeline.deliver.finish import finish
from lago_pipeline.deliver.progress import Progress
from lago_pipeline.deliver.run import PartitionRun, planned_groups
from lago_pipeline.deliver.send import BatchSender
from lago_pipeline.deliver.settle import Settler
from lago_pipeline.ledger.partitions import (
    PartitionRecord,
    open_partition,
    read_partition,
    read_usual_rows,
)
from lago_pipeline.ledger.runs import start_run
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.partition import Partition
from lago_pipeline.plan.guard import (
    check_snapshot,
    check_volume,
    collapse_words,
    is_nothing_new,
    volume_limit,
)
from lago_pipeline.report import DeliveryReport
from lago_pipeline.spool.events import EventsFile, EventsFooter
from lago_pipeline.sync import Sync


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the ledger knew of a partition when its run began."""

    run: int
    record: PartitionRecord | None
    usual_rows: int | None

    @property
    def accepted(self) -> int:
        """How many events the last run left accepted."""
        return self.record.counts.billed if self.record else 0


@dataclass(frozen=True, slots=True)
class PartitionDelivery:
    """Begins, guards, sends and ends; the caller holds the partition's lock."""

    sync: Sync
    sync_id: int
    partition: Partition
    run_id: str
    writer: LedgerWriter
    sender: BatchSender
    progress: Progress
    reads_back_unknown: bool
    clock: Callable[[], float]
    now_ms: Callable[[], int]

    def deliver(self, file: EventsFile, *, confirmed: bool) -> DeliveryReport:
        """Deliver the events of an open file; `confirmed` says that a person wants an unusual number sent.

        Raises what stopped it; what became of each event until then is in the ledger.
        """
        started = self.clock()
        beginning = self.writer.now(lambda connection: self._begun(connection, file.footer))
        partition_run = self._run(beginning)
        try:
            self._deliver(partition_run, beginning, file, confirmed=confirmed)
        except BaseException as error:
            partition_run.tally.interrupt(file.footer.events, error)
            raise
        finally:
            seconds = self.clock() - started
            report = finish(partition_run, file.footer, self.sync.closing_delay, seconds)
        if partition_run.tally.error is not None:
            raise partition_run.tally.error
        return report

    def _begun(self, connection: sa.Connection, footer: EventsFooter) -> Beginning:
        record = read_partition(connection, self.sync_id, self.partition)
        check_snapshot(footer, record, self.partition)
        open_partition(connection, self.sync_id, self.partition, self.now_ms())
        return Beginning(
            run=start_run(connection, self.sync_id, self.partition, self.run_id, self.now_ms()),
            record=record,
            usual_rows=read_usual_rows(connection, self.sync_id, self.partition),
        )

    def _run(self, beginning: Beginning) -> PartitionRun:
        prefix = self.sync.transaction_id_prefix
        settler = Settler(
            self.writer, self.sync_id, self.partition, prefix, beginning.run, self.clock, self.now_ms
        )
        return PartitionRun(
            settler=settler,
            sender=self.sender,
            delivery=self.sync.delivery,
            progress=self.progress,
            reads_back_unknown=self.reads_back_unknown,
        )

    def _deliver(
        self, partition_run: PartitionRun, beginning: Beginning, file: EventsFile, *, confirmed: bool
    ) -> None:
        footer, tally = file.footer, partition_run.tally
        if is_nothing_new(footer, beginning.record):
            tally.counted.update(extracted=footer.events, unchanged=footer.events)
            return
        if words := collapse_words(footer.events, beginning.accepted):
            self.progress.say(f"{self.sync.name} {self.partition.key}: {words}")
        if not confirmed:
            self._guard(beginning, file)
        partition_run.deliver(file)

    def _guard(self, beginning: Beginning, file: EventsFile) -> None:
        """Raise ConfirmationNeeded before the first event of an unusual number of them; all are pending."""
        footer = file.footer
        limit = volume_limit(beginning.usual_rows, self.sync.delivery.max_events_per_run)
        if limit is None or footer.events - footer.problems <= limit.events:
            return
        plans = planned_groups(self.writer.engine, self.sync_id, self.partition, file)
        count = sum(len(plan.to_send) for _, plan in plans)
        check_volume(count, limit, self.sync.name, self.partition)
