"""The alarm of a sync: a sensor on failed runs that tells a person what is not billed."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property

import dagster as dg

from lago_pipeline.components.assets import asset_keys
from lago_pipeline.components.failures import failure_words
from lago_pipeline.components.requests import SYNC_TAG, run_partition_keys
from lago_pipeline.components.wiring import Wiring
from lago_pipeline.errors import LagoPipelineError
from lago_pipeline.lago.catalog import billing_period_end_ms
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.registry import find
from lago_pipeline.resources import LagoResource
from lago_pipeline.settings import Settings
from lago_pipeline.sync import Sync
from lago_pipeline.watch.alarms import failed_run, partition_alarms, raise_alarms, run_alarm, tell

_EVERY_SECONDS = 60
_ASKING_SECONDS = 15.0
_ANSWER_SECONDS = 5.0
_RUN_ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
"""Differs each time, and would make old words news."""


def alarm_sensor(sync: Sync, wiring: Wiring) -> dg.SensorDefinition:
    """Tells of a sync's failed runs: of its job, of backfills and of runs started by hand, and of no others.

    A log line each, and `LAGO_PIPELINE_ALERT_WEBHOOK`.
    """

    # Dagster hands the resources over twice when the sensor is called by hand
    def alarm(context: dg.RunStatusSensorContext, **_: object) -> None:
        failures = list(own_failures(context.for_run_failure(), sync))
        if not failures:
            return
        words = dict.fromkeys(_RUN_ID.sub("…", words) for words in failures if words)
        _raise_alarms(context, sync, wiring, "; ".join(words))

    return dg.RunStatusSensorDefinition(
        name=f"{sync.name}_alarm",
        run_status=dg.DagsterRunStatus.FAILURE,
        run_status_sensor_fn=alarm,
        minimum_interval_seconds=_EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={wiring.ledger, wiring.lago},
        description=f"Tells a person what usage of {sync.name} is not billed, when a run fails.",
    )


def own_failures(context: dg.RunFailureSensorContext, sync: Sync) -> Iterator[str | None]:
    """Why the sync's part of a run failed: a line each, None where only unbilled usage is to blame.

    Nothing where the run failed in assets of other people, or is none of the sync's.
    """
    run, keys = context.dagster_run, asset_keys(sync)
    steps = {"__".join(key.path) for key in keys}
    failed = context.get_step_failure_events()
    for event in failed:
        if event.step_key in steps:
            yield failure_words(event)
    is_own = run.tags.get(SYNC_TAG) == sync.name or bool(set(keys) & set(run.asset_selection or ()))
    if not failed and is_own:
        yield "the run ended without a word: its process died, or could not start"


def _raise_alarms(context: dg.RunStatusSensorContext, sync: Sync, wiring: Wiring, words: str) -> None:
    """Tell what is not billed and, in words, why the run failed otherwise, if it did."""
    now_ms, log, webhook = wiring.now_ms(), context.log.error, Settings().alert_webhook
    partitions = list(wiring.partitions(run_partition_keys(context.dagster_run, wiring)))
    with wiring.ledger_of(context.resources).opened() as ledger, ExitStack() as stack:
        known = find(ledger, sync)
        if known is None:  # it never got so far as to be known: there is nothing to remember
            tell([failed_run(sync.name, partitions, words)] if words else [], log=log, webhook=webhook)
            return
        ends = PeriodEnds(stack, lambda: wiring.lago_of(context.resources), context.log.warning)
        alarms = partition_alarms(ledger, sync.name, known.sync_id, now_ms, ends)
        if words:
            alarms += run_alarm(ledger, sync.name, known.sync_id, now_ms, partitions, words, ends)
        raise_alarms(ledger, known.sync_id, alarms, now_ms, log=log, webhook=webhook)


class PeriodEnds:
    """Asks Lago when billing periods end, each once; an alarm goes out also where Lago is down or slow.

    It stops asking after an error, and before Dagster would give up on the sensor: the rest is not known.
    """

    def __init__(
        self,
        stack: ExitStack,
        lago: Callable[[], LagoResource],
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stack, self._lago, self._warn, self._clock = stack, lago, warn, clock
        self._deadline = clock() + _ASKING_SECONDS
        self._answers: dict[str, int | None] = {}

    def __call__(self, external_id: str) -> int | None:
        """The end in epoch milliseconds; None where it is not known."""
        if external_id not in self._answers:
            self._answers[external_id] = self._asked(external_id)
        return self._answers[external_id]

    def _asked(self, external_id: str) -> int | None:
        if self._clock() >= self._deadline:
            return None
        try:
            return billing_period_end_ms(self._client, external_id)
        except LagoPipelineError as error:
            self._deadline = self._clock()
            self._warn(f"billing periods are not known: {error}")
            return None

    @cached_property
    def _client(self) -> LagoClient:
        lago = self._lago()
        hasty = lago.model_copy(update={"answer_seconds": min(lago.answer_seconds, _ANSWER_SECONDS)})
        return self._stack.enter_context(hasty.connected())
