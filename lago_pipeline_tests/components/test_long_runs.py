"""Runs that a person must confirm, and runs that take long, as Dagster shows them."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lago_pipeline.components.observing import observed
from lago_pipeline.components.requests import range_tags
from lago_pipeline.instrumentation import ProgressDetails, tell
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.components.conftest import add_calls, definitions


@pytest.mark.usefixtures("environment")
def test_a_run_that_needs_confirmation_says_so_and_takes_it(warehouse: Path, lago: RunningSandbox) -> None:
    """The failure tells how to go on; `confirm` in the launchpad, or --confirm, sends the events."""
    add_calls(warehouse, *((f"k{number}", "2026-03-01 10:00:00", "s", 1) for number in range(3)))
    job = definitions(delivery={"max_events_per_run": 2}).resolve_job_def("calls_sync")

    def run(**config: Any) -> dg.ExecuteInProcessResult:
        return job.execute_in_process(
            instance=instance,
            tags=range_tags(["2026-03-01"]),
            raise_on_error=False,
            run_config={"ops": {"calls__deliveries": {"config": config}}} if config else None,
        )

    with dg.DagsterInstance.ephemeral() as instance:
        stopped = run()
        (failure,) = [event for event in stopped.all_events if event.is_step_failure]
        told = failure.step_failure_data.user_failure_data
        assert told is not None
        assert "3 events would be sent" in str(told.description)
        assert "--confirm" in str(told.description)
        assert lago.events() == []
        assert run(confirm=True).success
    assert len(lago.events()) == 3


def test_a_long_delivery_is_observed_each_minute() -> None:
    """How far it is, how fast, and how long it will take: beside the run's log, under the asset."""

    @dg.asset(key=["calls", "deliveries"])
    def deliveries(context: dg.AssetExecutionContext) -> None:
        with observed(context, "calls"):
            for seconds in (1.0, 61.0, 62.0, 122.0):
                tell(ProgressDetails("calls", "2026-03-01", int(seconds), 1000, seconds, 8))
            tell(ProgressDetails("another", "2026-03-01", 1, 1000, 500.0, 8))

    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([deliveries], instance=instance)
        records = instance.fetch_observations(deliveries.key, limit=10).records
    found = [record.asset_observation for record in reversed(records)]
    assert [each.metadata["lago/done"].value for each in found if each] == [61, 122]
    assert {each.partition for each in found if each} == {"2026-03-01"}
