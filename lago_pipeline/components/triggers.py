"""What starts a sync by itself: its job, its schedule, and the sensors for what the schedule would miss."""

from collections.abc import Callable, Iterator

import dagster as dg

from lago_pipeline.components.alarm import alarm_sensor
from lago_pipeline.components.assets import asset_keys
from lago_pipeline.components.requests import SYNC_TAG, tick
from lago_pipeline.components.sensors import late_rows_sensor, not_closed_sensor
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.partition import epoch_ms
from lago_pipeline.sync import Sync
from lago_pipeline.watch.closing import Due, scheduled_partitions

Requests = Iterator[dg.RunRequest | dg.SkipReason]


def sync_triggers(sync: Sync, wiring: Wiring, template_hash: str, cron: str | None) -> dg.Definitions:
    """The job `<sync>_sync` and, with a cron line, its schedule and sensors.

    The job runs in one process, since a process a step costs more than the steps.
    """
    job = dg.define_asset_job(
        f"{sync.name}_sync",
        selection=dg.AssetSelection.assets(*asset_keys(sync)),
        executor_def=dg.in_process_executor,
        tags={SYNC_TAG: sync.name},
        description=f"Extract, render and deliver the usage of {sync.name}.",
    )
    alarm = alarm_sensor(sync, wiring)
    if cron is None:
        return dg.Definitions(jobs=[job], sensors=[alarm])
    schedule = dg.ScheduleDefinition(
        name=f"{sync.name}_schedule",
        cron_schedule=cron,
        job=job,
        execution_fn=_scheduled(sync, wiring, template_hash),
        execution_timezone=wiring.partitions_def.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        required_resource_keys={wiring.ledger},
        description=f"The open partition of {sync.name}, and those not yet closed.",
    )
    sensors = [
        not_closed_sensor(sync, wiring, template_hash, job.name),
        late_rows_sensor(sync, wiring, job.name),
        alarm,
    ]
    return dg.Definitions(jobs=[job], schedules=[schedule], sensors=sensors)


def _scheduled(
    sync: Sync, wiring: Wiring, template_hash: str
) -> Callable[[dg.ScheduleEvaluationContext], Requests]:
    """Each tick asks for the open partition, and for past ones that wait for rows until they may close."""

    def scheduled(context: dg.ScheduleEvaluationContext) -> Requests:
        now_ms = epoch_ms(context.scheduled_execution_time)

        def waits_for_rows(due: Due) -> bool:
            is_in_doubt = due.is_unsettled or due.fruitless_asks > 0
            return due.is_open or not (is_in_doubt or due.may_close(now_ms, sync.closing_delay))

        with tick(context, sync, wiring, now_ms) as now:
            due = scheduled_partitions(now.ledger, now.known, wiring, now_ms, template_hash)
            mark = context.scheduled_execution_time.isoformat()
            requests = now.ask(due, reason="schedule", mark=mark, is_free=waits_for_rows)
        if not requests:
            yield dg.SkipReason("every partition due has a run, or waits for its next attempt")
        yield from requests

    return scheduled
