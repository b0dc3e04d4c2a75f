"""The alarm of a sync: a sensor on failed runs that tells a person what is not billed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg

from lago_pipeline.components.assets import asset_keys
from lago_pipeline.components.metadata import UNSETTLED
from lago_pipeline.components.requests import SYNC_TAG
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.errors import LagoPipelineError
from lago_pipeline.lago.catalog import billing_period_end_ms
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.registry import find
from lago_pipeline.settings import Settings
from lago_pipeline.sync import Sync
from lago_pipeline.watch.alarms import partition_alarms, raise_alarms, run_alarm

_EVERY_SECONDS = 60


def alarm_sensor(sync: Sync, wiring: Wiring) -> dg.SensorDefinition:
    """Tells of a sync's failed runs: of its job, of backfills and of runs started by hand, and of no others.

    A log line each, and `LAGO_PIPELINE_ALERT_WEBHOOK`.
    """

    # Dagster hands the resources over twice when the sensor is called by hand
    def alarm(context: dg.RunStatusSensorContext, **_: object) -> None:
        failures = list(own_failures(context.for_run_failure(), sync))
        if not failures:
            return
        _raise_alarms(context, sync, wiring, [words for words in failures if words])

    return dg.RunStatusSensorDefinition(
        name=f"{sync.name}_alarm",
        run_status=dg.DagsterRunStatus.FAILURE,
        run_status_sensor_fn=alarm,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={wiring.ledger, wiring.lago},
        description=f"Tells a person what usage of {sync.name} is not billed, when a run fails.",
    )


def own_failures(context: dg.RunFailureSensorContext, sync: Sync) -> Iterator[str]:
    """Why the sync's part of a run failed: a line each, empty where only unbilled usage is to blame.

    Nothing where the run failed in assets of other people, or is none of the sync's.
    """
    run, keys = context.dagster_run, asset_keys(sync)
    steps = {"__".join(key.path) for key in keys}
    failed = context.get_step_failure_events()
    for event in failed:
        if event.step_key in steps:
            yield _words(event)
    is_own = run.tags.get(SYNC_TAG) == sync.name or bool(set(keys) & set(run.asset_selection or ()))
    if not failed and is_own:
        yield "the run ended without a word: its process died, or could not start"


def _words(event: dg.DagsterEvent) -> str:
    told = event.step_failure_data.user_failure_data
    if told is not None and UNSETTLED in (told.metadata or {}):
        return ""
    error = event.step_failure_data.error
    words = (told.description if told else None) or (error.message if error else None) or "a step failed"
    return words.strip().splitlines()[0]


def _raise_alarms(
    context: dg.RunStatusSensorContext, sync: Sync, wiring: Wiring, failures: list[str]
) -> None:
    now_ms, log = wiring.now_ms(), context.log.error
    with wiring.ledger_of(context.resources).opened() as ledger, _period_ends(context, wiring) as ends:
        known = find(ledger, sync)
        if known is None:  # it never got so far as to be known: there is nothing to remember
            for words in failures:
                log(f"{sync.name}: {words}")
            return
        alarms = partition_alarms(ledger, sync.name, known.sync_id, now_ms, ends)
        for words in failures:
            alarms += run_alarm(ledger, sync.name, known.sync_id, now_ms, words)
        raise_alarms(ledger, known.sync_id, alarms, now_ms, log=log, webhook=Settings().alert_webhook)


@contextmanager
def _period_ends(context: dg.RunStatusSensorContext, wiring: Wiring) -> Iterator[Callable[[str], int | None]]:
    """Asks Lago for the end of a subscription's billing period; an alarm goes out also where Lago is down."""
    with ExitStack() as stack:
        unreachable: list[str] = []
        clients: list[LagoClient] = []

        def ends(external_id: str) -> int | None:
            if unreachable:
                return None
            try:
                if not clients:
                    clients.append(stack.enter_context(wiring.lago_of(context.resources).connected()))
                return billing_period_end_ms(clients[0], external_id)
            except LagoPipelineError as error:
                unreachable.append(str(error))
                context.log.warning("billing periods are not known: %s", error)
                return None

        yield ends
