"""The three assets under Dagster: numbers by day, red and green days, and errors in one line."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from lago_pipeline.components.requests import range_tags
from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.components.conftest import ATTRIBUTES, add_calls, definitions, loaded

DELIVERIES = dg.AssetKey(["calls", "deliveries"])
DAYS = ["2026-03-01", "2026-03-02", "2026-03-03"]

pytestmark = pytest.mark.usefixtures("environment")


def materialize(instance: dg.DagsterInstance, *keys: str, **changes: Any) -> dg.ExecuteInProcessResult:
    """Run the sync's job for a range of days."""
    job = definitions(**changes).resolve_job_def("calls_sync")
    return job.execute_in_process(instance=instance, tags=range_tags(keys), raise_on_error=False)


def metadata_of(instance: dg.DagsterInstance, day: str, key: dg.AssetKey = DELIVERIES) -> dict[str, Any]:
    """The metadata of a day's latest materialization."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day]), limit=1
    ).records
    materialization = found[0].asset_materialization
    assert materialization is not None
    return {name: value.value for name, value in materialization.metadata.items()}


def checks_of(result: dg.ExecuteInProcessResult, name: str) -> dict[str | None, bool]:
    """Whether a check passed, by day."""
    return {
        item.partition: item.passed
        for item in result.get_asset_check_evaluations()
        if item.check_name == name
    }


def test_each_day_of_a_range_has_its_own_numbers(warehouse: Path, lago: RunningSandbox) -> None:
    """A range run gives every day its own metadata, and every row is in Lago once."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1), ("b", "2026-03-01 11:00:00", "s", 2))
    add_calls(warehouse, ("c", "2026-03-02 10:00:00", "s", 3))
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(instance, *DAYS)
        assert result.success
        assert [metadata_of(instance, day)["lago/accepted"] for day in DAYS] == [2, 1, 0]
        rows = dg.AssetKey(["calls", "usage_rows"])
        assert [metadata_of(instance, day, rows)["dagster/partition_row_count"] for day in DAYS] == [2, 1, 0]
    assert checks_of(result, "conserved") == checks_of(result, "all_accepted") == dict.fromkeys(DAYS, True)
    assert sorted(str(event["transaction_id"]) for event in lago.events()) == [
        "calls:calls:a",
        "calls:calls:b",
        "calls:calls:c",
    ]


def test_a_day_with_unbilled_usage_is_red_and_its_neighbours_green(warehouse: Path) -> None:
    """One bad row makes its day red with the reason; the good days of the same run stay green."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1), ("b", "2026-03-02 10:00:00", None, 2))
    add_calls(warehouse, ("c", "2026-03-03 10:00:00", "s", 3))
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(instance, *DAYS)
        assert not result.success
        assert instance.get_materialized_partitions(DELIVERIES) == {"2026-03-01", "2026-03-03"}
        assert metadata_of(instance, "2026-03-03")["lago/accepted"] == 1
        observed = instance.fetch_observations(DELIVERIES, limit=5).records
    assert checks_of(result, "all_accepted") == {"2026-03-01": True, "2026-03-02": False, "2026-03-03": True}
    assert checks_of(result, "conserved") == dict.fromkeys(DAYS, True)
    observation = observed[0].asset_observation
    assert observation is not None
    assert observation.partition == "2026-03-02"
    table = observation.metadata["lago/refusals"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["reason"] == "missing_external_subscription_id"


def test_each_day_shows_its_check_results(warehouse: Path) -> None:
    """Dagster calls a result missing that does not point to the day's latest materialization."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1), ("b", "2026-03-02 10:00:00", None, 2))
    key = dg.AssetCheckKey(DELIVERIES, "all_accepted")
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(instance, *DAYS)
        add_calls(warehouse, ("c", "2026-03-01 11:00:00", None, 1))
        materialize(instance, *DAYS)
        records = instance.event_log_storage.get_asset_check_execution_history(key, limit=3)
        latest = {
            day: instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=DELIVERIES, asset_partitions=[day]), limit=1
            ).records
            for day in DAYS
        }
    targets = {}
    for record in records:
        event = record.event.dagster_event if record.event else None
        assert event is not None
        evaluation = event.asset_check_evaluation_data
        target = evaluation.target_materialization_data
        targets[evaluation.partition] = target.storage_id if target else None
    assert targets == {day: found[0].storage_id if found else None for day, found in latest.items()}


def test_a_green_day_turns_red_when_a_bad_row_comes_late(warehouse: Path) -> None:
    """Dagster shows a day as failed once its latest delivery left usage unbilled."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1))
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(instance, "2026-03-01").success
        add_calls(warehouse, ("b", "2026-03-01 11:00:00", "", 2))
        result = materialize(instance, "2026-03-01")
        partitions = loaded().wiring().partitions_def
        status = instance.get_status_by_partition(DELIVERIES, ["2026-03-01"], partitions)
    assert not result.success
    assert status is not None
    assert str(status["2026-03-01"]).endswith("FAILED")


def test_a_second_run_sends_nothing(warehouse: Path, lago: RunningSandbox) -> None:
    """What Lago has is unchanged: not one request is made for it."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1))
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(instance, "2026-03-01")
        materialize(instance, "2026-03-01")
        numbers = metadata_of(instance, "2026-03-01")
    assert (numbers["lago/unchanged"], numbers["lago/accepted"], numbers["lago/requests"]) == (1, 0, 0)
    assert len(lago.events()) == 1


def test_metadata_keys_and_types_stay_the_same(warehouse: Path) -> None:
    """Plots need the same keys with the same types on every day, also on an empty one."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1))
    with dg.DagsterInstance.ephemeral() as instance:
        materialize(instance, "2026-03-01", "2026-03-02")
        busy, idle = (metadata_of(instance, day) for day in DAYS[:2])
    assert {key: type(value) for key, value in busy.items()} == {
        key: type(value) for key, value in idle.items()
    }
    counts = {"extracted", "unchanged", "accepted", "changed", "removed", "ignored", "held", "rejected"}
    more = {"quarantined", "conflict", "pending", "requests", "retries", "seconds", "events_per_second"}
    times = {"latency_p50_ms", "latency_p99_ms", "throttled_seconds", "lag_seconds"}
    assert {f"lago/{name}" for name in counts | more | times} <= set(busy)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LAGO_API_KEY", "wrong", "Lago refused the API key (401): check LAGO_API_KEY"),
        ("LAGO_API_KEY", "", "the environment variable LAGO_API_KEY is not set"),
        ("LAGO_API_URL", "http://127.0.0.1:9/api/v1", "cannot be reached"),
        ("LAGO_API_URL", "ftp://lago", "LAGO_API_URL is not an http(s) URL"),
        ("WAREHOUSE_URL", "sqlite:////nowhere/at/all.db", "does not exist: check the path in its URL"),
        ("WAREHOUSE_URL", "nonsense", "the warehouse URL is no SQLAlchemy URL"),
        ("LEDGER_URL", "mysql://x/y", "the ledger cannot live in mysql"),
    ],
)
def test_bad_configuration_gets_one_line(
    warehouse: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    """A wrong or missing variable fails the run with one line that says what to do."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1))
    monkeypatch.setenv(variable, value)
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(instance, "2026-03-01")
    failures = [
        event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure
    ]
    assert failures[0] is not None
    assert said in str(failures[0].description)
    assert "\n" not in str(failures[0].description)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": {"table": "absent", "primary_key": "id", "time_column": "called_at"}}, "no such table"),
        ({"source": {"table": "calls", "primary_key": "uid", "time_column": "called_at"}}, "no column 'uid'"),
        ({"source": {"table": "calls", "primary_key": "id", "time_column": "called"}}, "no column 'called'"),
        (
            {"event": {"code": "c", "external_subscription_id": "{{ row.subscripton }}"}},
            "did you mean 'subscription'?",
        ),
    ],
)
def test_a_wrong_source_gets_one_line(changes: dict[str, Any], said: str) -> None:
    """A missing table or column is named before anything is written."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(instance, "2026-03-01", **changes)
    failures = [
        event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure
    ]
    assert failures[0] is not None
    assert said in str(failures[0].description)


def test_a_failure_on_a_later_day_keeps_the_earlier_ones(
    warehouse: Path, lago: RunningSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days delivered before Lago refused the key stay delivered and materialized."""
    add_calls(warehouse, *((f"r{day}", f"{day} 10:00:00", "s", 1) for day in DAYS))
    monkeypatch.setenv("LAGO_PIPELINE_TEST", "1")
    lago.set_faults([{"kind": "status", "status": 401, "every": 2, "times": None}])
    with dg.DagsterInstance.ephemeral() as instance:
        result = materialize(instance, *DAYS)
        assert not result.success
        assert instance.get_materialized_partitions(DELIVERIES) == {"2026-03-01"}
    assert len(lago.events()) == 1


def test_a_resource_of_another_class_is_named(warehouse: Path) -> None:
    """Where `source.connection` names something else by mistake, one line says what belongs there."""
    add_calls(warehouse, ("a", "2026-03-01 10:00:00", "s", 1))
    source = {**ATTRIBUTES["source"], "connection": "replica"}
    own = dg.Definitions(resources={"replica": dg.ResourceDefinition.hardcoded_resource("sqlite://")})
    job = dg.Definitions.merge(definitions(source=source), own).resolve_job_def("calls_sync")
    result = job.execute_in_process(partition_key="2026-03-01", raise_on_error=False)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    told = failure.step_failure_data.user_failure_data
    assert told is not None
    assert told.description == (
        "the resource 'replica' is a str: put a lago_pipeline.resources.WarehouseResource there"
    )
