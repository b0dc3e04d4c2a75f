"""The three steps of one partition, without Dagster: extract, render, deliver.

Assets, the command line and the crash tests call these. Each step reads the file of the one before, and
can be repeated alone.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain

import sqlalchemy as sa

from lago_pipeline.collecting import rare_collections
from lago_pipeline.deliver.partition import PartitionDelivery
from lago_pipeline.deliver.progress import Progress
from lago_pipeline.deliver.run import planned_groups
from lago_pipeline.deliver.send import BatchSender
from lago_pipeline.deliver.tally import Tally
from lago_pipeline.errors import FatalError, RetriableError
from lago_pipeline.lago.catalog import catalog_hash
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.catalog import is_catalog_watched, save_catalog_hash
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.lock import WAIT_SECONDS, partition_lock
from lago_pipeline.ledger.registry import RegisteredSync, register
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.partition import Partition
from lago_pipeline.plan.guard import check_template
from lago_pipeline.render.partition_events import RenderCounts, partition_events
from lago_pipeline.render.renderer import EventRenderer
from lago_pipeline.render.template import EventTemplate, event_template
from lago_pipeline.report import Counts, DeliveryReport
from lago_pipeline.source.extent import Extent
from lago_pipeline.source.query import SourceReader
from lago_pipeline.spool.events import EventsFooter, events_opened, events_written
from lago_pipeline.spool.folder import Spool
from lago_pipeline.spool.rows import RowsFooter, rows_opened, rows_written
from lago_pipeline.sync import Sync

logger = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A sync with its spool, for one run; `run_id` names the run in files, locks and the ledger."""

    sync: Sync
    spool: Spool
    run_id: str
    now_ms: Callable[[], int] = wall_clock_ms
    clock: Callable[[], float] = time.monotonic
    say: Callable[[str], None] = logger.info
    template: EventTemplate = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "template", event_template(self.sync))

    @rare_collections()
    def extract(self, partition: Partition, warehouse: sa.Engine) -> RowsFooter:
        """Stream a partition's usage rows into the spool; returns what was written.

        Raises ConfigError where the source lacks a table or column, RetriableError where it fails.
        """
        source = self.sync.source
        reader = SourceReader(warehouse, self.sync, self.run_id)
        rows = reader.probe(partition)
        self.template.check_columns(rows.columns)
        snapshot_ms = self.now_ms()
        extent = Extent()

        def footer() -> RowsFooter:
            return RowsFooter(snapshot_ms, extent.rows, self.run_id, extent.fingerprint)

        path = self.spool.rows(self.sync.name, partition.key)
        with rows_written(path, rows.columns, source.primary_key, footer) as writer:
            for chunk in reader.stream(rows, extent):
                writer.write(chunk)
        self.say(f"{self.sync.name} {partition.key}: extracted {extent.rows:,} rows")
        return footer()

    @rare_collections()
    def render(self, partition: Partition) -> EventsFooter:
        """Turn a partition's extracted rows into events in the spool; returns what was written."""
        counts = RenderCounts()
        renderer = EventRenderer(self.sync, self.template, partition)
        with rows_opened(self.spool.rows(self.sync.name, partition.key)) as rows:
            self.template.check_columns(rows.columns)

            def footer() -> EventsFooter:
                return EventsFooter(
                    snapshot_ms=rows.footer.snapshot_ms,
                    rows=rows.footer.rows,
                    events=counts.events,
                    duplicates=counts.duplicates,
                    problems=counts.problems,
                    digest=f"{counts.digest:032x}",
                    template_hash=self.template.hash,
                    run=self.run_id,
                    source_fingerprint=rows.footer.source_fingerprint,
                )

            path = self.spool.events(self.sync.name, partition.key)
            with events_written(path, footer) as writer:
                for events in partition_events(renderer, rows.columns, rows.rows(), counts):
                    writer.write(events)
            if counts.rows != rows.footer.rows:
                raise FatalError(
                    f"partition {partition.key}: {rows.footer.rows} rows were extracted, "
                    f"{counts.rows} rendered: materialize usage_rows again"
                )
        told = f"rendered {counts.events:,} events, {counts.problems:,} refused"
        self.say(f"{self.sync.name} {partition.key}: {told} (template {self.template.compiled.way})")
        return footer()

    def plan(
        self, partition: Partition, ledger: sa.Engine, known: RegisteredSync | None
    ) -> tuple[Counts, str]:
        """Count what a delivery would do, and name the reasons for refusals; sends and records nothing.

        `known` is the sync as the ledger knows it, if it does. Events that would be sent count as pending.
        """
        tally, reasons = Tally(), set[str]()
        sync_id = known.sync_id if known else None
        with events_opened(self.spool.events(self.sync.name, partition.key)) as file:
            for events, planned in planned_groups(ledger, sync_id, partition, file):
                tally.plan(planned, len(events))
                tally.counted["pending"] += len(planned.to_send)
                words = chain.from_iterable(outcome.reasons for outcome in planned.refused)
                reasons.update((each or "").partition(":")[0] for each in words)
            return tally.counts(file.footer.duplicates), " ".join(sorted(reasons))

    @rare_collections()
    def deliver(
        self,
        partition: Partition,
        ledger: sa.Engine,
        lago: LagoClient,
        *,
        stop: threading.Event | None = None,
        sleep: Callable[[float], object] | None = None,
        lock_wait_seconds: float = WAIT_SECONDS,
        confirmed: bool = False,
    ) -> DeliveryReport:
        """Deliver a partition's events and settle them in the ledger.

        The report tells what is billed and what is not. `confirmed` says that a person wants an unusual
        number of events sent; without it such a run raises ConfirmationNeeded. Raises ConfigError where the
        run cannot go on without a person, RetriableError where the partition is locked or a server is down;
        the ledger keeps what was settled before.
        """
        organization = lago.organization()
        sync_id = register(ledger, self.sync, lago.api_url, organization).sync_id
        stop = stop or threading.Event()
        with ExitStack() as stack:
            connection = stack.enter_context(
                partition_lock(ledger, sync_id, partition, self.run_id, wait_seconds=lock_wait_seconds)
            )
            writer = stack.enter_context(LedgerWriter(ledger, connection))
            file = stack.enter_context(events_opened(self.spool.events(self.sync.name, partition.key)))
            check_template(file.footer, self.template.hash, partition)
            progress = Progress(self.sync.name, partition.key, file.footer.events, self.say, self.clock)
            sender = BatchSender(
                lago,
                self.sync.delivery,
                stop=stop,
                clock=self.clock,
                sleep=sleep,
                retried=progress.retries,
            )
            delivery = PartitionDelivery(
                self.sync,
                sync_id,
                partition,
                self.run_id,
                writer,
                sender,
                progress,
                reads_back_unknown=organization.events_store == "clickhouse",
                clock=self.clock,
                now_ms=self.now_ms,
            )
            report = delivery.deliver(file, confirmed=confirmed)
            self._watch_catalog(lago, ledger, sync_id, partition if report.counts.rejected else None)
            return report

    def _watch_catalog(
        self, lago: LagoClient, ledger: sa.Engine, sync_id: int, refused_in: Partition | None
    ) -> None:
        """While Lago refuses events, note its metrics: the sensor tries them again once those change."""
        with reading(ledger) as connection:
            if refused_in is None and not is_catalog_watched(connection, sync_id):
                return
        try:
            found = catalog_hash(lago)
        except RetriableError as error:  # what was delivered is settled: this run is not to blame
            self.say(f"Lago's metrics are not known now: {error}")
            return
        if found is None:
            self.say("the API key may not read billable metrics: refused events are tried again only in time")
            return
        with writing(ledger) as connection:
            save_catalog_hash(connection, sync_id, found, refused_in)
