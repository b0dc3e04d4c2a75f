"""PostgreSQL for everything: Dagster's own storage, the warehouse and the ledger, on one server."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from lago_pipeline.components.usage_sync import UsageSync
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.postgres import PASSWORD, USER, PostgresServer
from lago_pipeline_tests.source.reading import write

INSTANCE = """\
telemetry: {{enabled: false}}
storage:
  postgres:
    postgres_db:
      scheme: postgresql+psycopg2 # what dagster-postgres installs: plain postgresql:// means psycopg 3
      hostname: 127.0.0.1
      port: {port}
      username: {user}
      password: {{env: DAGSTER_PG_PASSWORD}}
      db_name: {database}
"""
DAYS = ["2026-03-01", "2026-03-02", "2026-03-03"]
ATTRIBUTES = {
    "name": "calls",
    "source": {"table": "calls", "primary_key": "id", "time_column": "called_at"},
    "event": {"code": "calls", "external_subscription_id": "{{ row.subscription }}"},
    "partitions": {"start": DAYS[0]},
}
CALLS = [
    "create table calls (id text, called_at timestamptz, subscription text)",
    """insert into calls select 'c' || n, timestamptz '2026-03-01 01:00Z' + n * interval '1 hour', 's'
        from generate_series(0, 71) n""",
    "update calls set subscription = null where id = 'c30'",
]


@pytest.fixture
def lago() -> Iterator[RunningSandbox]:
    """A Lago that takes every code."""
    with running() as sandbox:
        yield sandbox


@pytest.fixture
def instance(
    postgres_server: PostgresServer, lago: RunningSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance as its dagster.yaml says, and the variables of a deployment."""
    with ExitStack() as stack:
        dagster, warehouse, ledger = (stack.enter_context(postgres_server.fresh_database()) for _ in range(3))
        write(postgres_server.url(warehouse), *CALLS)
        settings = INSTANCE.format(port=postgres_server.port, user=USER, database=dagster)
        (tmp_path / "dagster.yaml").write_text(settings, encoding="utf-8")
        monkeypatch.setenv("DAGSTER_PG_PASSWORD", PASSWORD)
        monkeypatch.setenv("WAREHOUSE_URL", postgres_server.url(warehouse))
        monkeypatch.setenv("LEDGER_URL", postgres_server.url(ledger))
        monkeypatch.setenv("LAGO_API_URL", lago.api_url)
        monkeypatch.setenv("LAGO_API_KEY", lago.api_key)
        monkeypatch.setenv("LAGO_PIPELINE_STATE", str(tmp_path / "state"))
        yield stack.enter_context(dg.DagsterInstance.from_config(str(tmp_path)))


def test_everything_on_one_postgres(instance: dg.DagsterInstance, lago: RunningSandbox) -> None:
    """A run of three days: good ones are green, the bad one is red, sensors tick, and nothing is lost."""
    assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
    component = UsageSync.from_attributes_dict(attributes=ATTRIBUTES)
    defs = component.build_defs(dg.ComponentTree.for_test().load_context)
    days = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
    done = defs.resolve_job_def("calls_sync").execute_in_process(
        instance=instance, tags=days, raise_on_error=False
    )
    assert not done.success
    partitions = dg.DailyPartitionsDefinition(DAYS[0])
    colours = instance.get_status_by_partition(dg.AssetKey(["calls", "deliveries"]), DAYS, partitions)
    assert [(colours or {})[day].name for day in DAYS] == ["MATERIALIZED", "FAILED", "MATERIALIZED"]  # type: ignore[union-attr]
    assert len({str(event["transaction_id"]) for event in lago.events()}) == len(lago.events()) == 70
    for name in ("calls_not_closed", "calls_late_rows"):
        with dg.build_sensor_context(
            instance=instance,
            repository_def=defs.get_repository_def(),
            resources=dict(defs.resources or {}),
        ) as tick:
            defs.resolve_sensor_def(name).evaluate_tick(tick)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime(2026, 3, 3, 12, tzinfo=UTC),
        repository_def=defs.get_repository_def(),
        resources=dict(defs.resources or {}),
    ) as tick_of_schedule:
        asked = defs.resolve_schedule_def("calls_schedule").evaluate_tick(tick_of_schedule)
    assert asked.run_requests
