"""The end of a run: its counts judged by the laws, and recorded."""

from datetime import timedelta

import sqlalchemy as sa

from lago_pipeline.deliver.run import PartitionRun
from lago_pipeline.deliver.send import BatchSender
from lago_pipeline.deliver.tally import Tally
from lago_pipeline.ledger.events import clear_marks, count_by_status, read_refusals
from lago_pipeline.ledger.partitions import Settlement, settle_partition
from lago_pipeline.ledger.runs import end_run
from lago_pipeline.plan.guard import file_digest
from lago_pipeline.refusals import REMEDIES, Reason
from lago_pipeline.report import DeliveryReport, Refusal, Status, Wire, broken_laws
from lago_pipeline.spool.events import EventsFooter


def finish(
    partition_run: PartitionRun, footer: EventsFooter, closing_delay: timedelta, seconds: float
) -> DeliveryReport:
    """Record a run's end and report it; `seconds` is how long it took.

    An interrupted run did not count everything: it is unsettled, and the laws are not asked of it.
    """
    return partition_run.settler.writer.now(
        lambda connection: _finished(connection, partition_run, footer, closing_delay, seconds)
    )


def _finished(
    connection: sa.Connection,
    partition_run: PartitionRun,
    footer: EventsFooter,
    closing_delay: timedelta,
    seconds: float,
) -> DeliveryReport:
    tally, settler = partition_run.tally, partition_run.settler
    sync_id, partition = settler.sync_id, settler.partition
    counts, now_ms = tally.counts(footer.duplicates), settler.now_ms()
    laws: tuple[str, ...] = ()
    if not tally.is_interrupted:
        ledger = tally.current(count_by_status(connection, sync_id, partition))
        laws = broken_laws(counts, source_rows=footer.rows, ledger=ledger)
        if not counts.pending and not tally.is_unclear:
            clear_marks(connection, sync_id, partition)
    report = DeliveryReport(
        partition_key=partition.key,
        counts=counts,
        wire=_wire(partition_run.sender, seconds),
        refusals=_refusals(read_refusals(connection, sync_id, partition)),
        broken_laws=laws,
        lag_seconds=_lag_seconds(tally, now_ms),
        stopped=tally.why_pending(),
    )
    settle_partition(
        connection,
        sync_id,
        partition,
        _settlement(report, settler.run, footer, needs_confirmation=tally.needs_confirmation),
        closing_delay_ms=int(closing_delay.total_seconds() * 1000),
        now_ms=now_ms,
    )
    end_run(connection, settler.run, counts, report.wire, now_ms)
    return report


def _settlement(
    report: DeliveryReport, run: int, footer: EventsFooter, *, needs_confirmation: bool
) -> Settlement:
    is_plain = report.is_settled and not report.counts.changed and not report.counts.removed
    return Settlement(
        run=run,
        snapshot_ms=footer.snapshot_ms,
        template_hash=footer.template_hash,
        digest=file_digest(footer) if is_plain else None,
        counts=report.counts,
        reasons=_reasons(report, needs_confirmation=needs_confirmation),
        is_settled=report.is_settled,
        source_fingerprint=footer.source_fingerprint,
    )


def _lag_seconds(tally: Tally, now_ms: int) -> float:
    return (now_ms - tally.oldest_ms) / 1000 if tally.oldest_ms is not None else 0.0


def _wire(sender: BatchSender, seconds: float) -> Wire:
    """Percentiles are of real requests."""
    latencies = sorted(sender.latencies)

    def percentile(share: float) -> float:
        return 1000 * latencies[int(share * (len(latencies) - 1))] if latencies else 0.0

    return Wire(
        requests=len(latencies),
        retries=len(sender.patience.retries),
        seconds=seconds,
        latency_p50_ms=percentile(0.5),
        latency_p99_ms=percentile(0.99),
        throttled_seconds=sender.pace.throttled_seconds,
    )


def _refusals(found: list[tuple[str, str, str, int]]) -> tuple[Refusal, ...]:
    """The ledger's unbilled lines, grouped by the reason's word, the most frequent first."""
    groups: dict[tuple[str, str], Refusal] = {}
    for status, words, row_key, count in found:
        reason = words.partition(":")[0]
        before = groups.get((status, reason))
        groups[status, reason] = Refusal(
            status=Status(status),
            reason=reason,
            count=count + (before.count if before else 0),
            example=before.example if before else row_key,
            words=before.words if before else words.partition(": ")[2],
            remedy=_remedy(reason),
        )
    return tuple(sorted(groups.values(), key=lambda refusal: -refusal.count))


def _remedy(reason: str) -> str:
    return REMEDIES[Reason(reason)] if reason in set(Reason) else ""


def _reasons(report: DeliveryReport, *, needs_confirmation: bool) -> str:
    """The set of reasons why a partition is not settled, in a stable order."""
    reasons = {refusal.reason for refusal in report.refusals}
    if report.counts.pending or report.stopped:
        reasons.add("needs_confirmation" if needs_confirmation else "pending")
    if report.broken_laws:
        reasons.add("law_broken")
    return " ".join(sorted(reasons))
