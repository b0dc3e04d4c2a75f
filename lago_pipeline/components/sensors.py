"""The sensors of a sync: for partitions that are not closed, and for rows that came late or changed."""

import time
from collections.abc import Iterable

import dagster as dg

from lago_pipeline.components.requests import Tick, tick
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.errors import RetriableError
from lago_pipeline.ledger.database import reading
from lago_pipeline.ledger.partitions import read_partition
from lago_pipeline.partition import Partition, from_epoch_ms
from lago_pipeline.settings import Settings
from lago_pipeline.source.changed import ChangeReader
from lago_pipeline.sync import Sync
from lago_pipeline.watch.alarms import overdue_alarms, raise_alarms
from lago_pipeline.watch.closing import Due, due_partitions
from lago_pipeline.watch.fingerprints import find_changed_extents
from lago_pipeline.watch.late import LateRows, find_late_rows

_EVERY_SECONDS = 300


def not_closed_sensor(sync: Sync, wiring: Wiring, template_hash: str, job_name: str) -> dg.SensorDefinition:
    """Asks for partitions that could be closed and are not, and for unsettled ones; reads only the ledger.

    The schedule never catches up on ticks that it missed: this does.
    """

    @dg.sensor(
        name=f"{sync.name}_not_closed",
        job_name=job_name,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={wiring.ledger},
        description=f"Partitions of {sync.name} that could be closed and are not, "
        "and unsettled ones when their next attempt is due.",
    )
    def not_closed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now_ms = wiring.now_ms()
        with tick(context, sync, wiring, now_ms) as now:
            due = [
                each
                for each in due_partitions(now.ledger, now.known, wiring, now_ms, template_hash)
                if each.is_unsettled or each.may_close(now_ms, sync.closing_delay)
            ]
            requests = now.ask(due, reason="not_closed", mark=now_ms)
            _tell_overdue(context, now, sync)
        if not requests:
            return dg.SkipReason(
                "every partition that could be closed is, has a run, or waits for its next attempt"
            )
        return dg.SensorResult(run_requests=requests)

    return not_closed


def late_rows_sensor(sync: Sync, wiring: Wiring, job_name: str) -> dg.SensorDefinition:
    """Asks for past partitions whose source changed since they were delivered."""

    @dg.sensor(
        name=f"{sync.name}_late_rows",
        job_name=job_name,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={wiring.ledger, wiring.warehouse},
        description=f"Past partitions of {sync.name} whose rows came late or changed.",
    )
    def late_rows(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with (
            tick(context, sync, wiring, wiring.now_ms()) as now,
            wiring.warehouse_of(context.resources).connected() as engine,
        ):
            late = _look(now, ChangeReader(engine, sync))
            watermark = from_epoch_ms(late.watermark_ms).isoformat()
            due = [each for each in _due(now, late.changed) if _is_to_be_asked(each, now, sync)]
            requests = now.ask(due, reason="late_rows", mark=f"{watermark}/{now.now_ms}")
        if late.ignored:
            context.log.warning(_ignored_words(sync, late.ignored))
        if not requests:
            nothing = f"no late rows; the next look begins at updates of {watermark}"
            words = _ignored_words(sync, late.ignored) if late.ignored else nothing
            return dg.SensorResult(skip_reason=dg.SkipReason(words), cursor=watermark)
        return dg.SensorResult(run_requests=requests, cursor=watermark)

    return late_rows


def _tell_overdue(context: dg.SensorEvaluationContext, now: Tick, sync: Sync) -> None:
    """Where nothing fails and nothing is billed, the alarm of failed runs would be silent."""
    alarms = overdue_alarms(now.ledger, sync.name, now.known.sync_id, now.now_ms, sync.closing_delay)
    try:
        raise_alarms(
            now.ledger,
            now.known.sync_id,
            alarms,
            now.now_ms,
            log=context.log.error,
            webhook=Settings().alert_webhook,
        )
    except RetriableError as error:  # it stays news, and must not keep runs from being asked for
        context.log.warning(str(error))


def _look(now: Tick, reader: ChangeReader) -> LateRows:
    """By updates where the source tells them, and by fingerprints, which show also what went."""
    late = LateRows([], [], now.now_ms)
    if reader.tells_updates:
        late = find_late_rows(now.ledger, now.known, reader, now.wiring, now.wiring.now_ms)
    changed = find_changed_extents(
        now.ledger, now.known, reader, now.wiring, now.wiring.now_ms, clock=time.monotonic
    )
    every = {partition.start_ms: partition for partition in (*late.changed, *changed)}
    return LateRows([every[start] for start in sorted(every)], late.ignored, late.watermark_ms)


def _due(now: Tick, partitions: Iterable[Partition]) -> list[Due]:
    with reading(now.ledger) as connection:
        return [Due(each, read_partition(connection, now.known.sync_id, each)) for each in partitions]


def _is_to_be_asked(due: Due, now: Tick, sync: Sync) -> bool:
    """Not one that was asked for lately, and not one that ended and waits for rows as the schedule comes."""
    is_over = due.partition.holds(now.now_ms) or due.may_close(now.now_ms, sync.closing_delay)
    return is_over and not due.is_asked_for(now.now_ms)


def _ignored_words(sync: Sync, ignored: list[Partition]) -> str:
    span = f"--from {ignored[0].key} --to {ignored[-1].key}"
    return (
        f"{len(ignored)} partitions from before the sync's first start have new or changed rows, and were "
        f"never delivered: lago-pipeline run {sync.name} {span} would bill them"
    )
