"""A sync in YAML: what it needs, what it defaults to, and what it says when it is wrong."""

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from lago_pipeline.errors import ConfigError, TemplateError
from lago_pipeline_tests.components.conftest import ATTRIBUTES, definitions, loaded

SOURCE = ATTRIBUTES["source"]


def test_defaults_are_those_of_the_design() -> None:
    """A sync with only the required keys has every default of the design."""
    component = loaded()
    sync, wiring = component.sync(), component.wiring()
    assert (sync.transaction_id_prefix, sync.source.timezone.key) == ("calls", "UTC")
    assert sync.closing_delay == timedelta(hours=1)
    assert (sync.delivery.batch_size, sync.delivery.concurrency, sync.delivery.max_attempts) == (100, 8, 6)
    assert sync.delivery.requests_per_second is None
    assert (sync.retention.spool_days, sync.retention.properties_days) == (7, 400)
    assert (wiring.per_run, component.schedule) == (7, "*/15 * * * *")


def test_an_option_that_is_null_has_its_default() -> None:
    """`null`, as the scaffold and the documentation write it, means no limit."""
    nulls = {"requests_per_second": None, "max_events_per_run": None}
    component = loaded(delivery=nulls, partitions={"start": "2026-03-01", "per_run": None}, schedule=None)
    delivery = component.sync().delivery
    assert (delivery.requests_per_second, delivery.max_events_per_run) == (None, None)
    assert (component.wiring().per_run, component.schedule) == (7, None)


def test_an_hourly_sync_takes_168_hours_a_run() -> None:
    """Hourly partitions have a week of them in one run of a backfill."""
    wiring = loaded(partitions={"start": "2026-03-01", "cadence": "hourly"}).wiring()
    assert wiring.per_run == 168
    assert wiring.partition("2026-03-01-05:00").end - wiring.partition("2026-03-01-05:00").start == timedelta(
        hours=1
    )


def test_a_local_day_has_23_or_25_hours_when_the_clocks_change() -> None:
    """A partition is the local day, however many hours it has."""
    wiring = loaded(partitions={"start": "2026-01-01", "timezone": "Europe/Berlin"}).wiring()
    hours = {
        key: (wiring.partition(key).end_ms - wiring.partition(key).start_ms) / 3_600_000
        for key in ("2026-03-29", "2026-10-25", "2026-07-01")
    }
    assert hours == {"2026-03-29": 23, "2026-10-25": 25, "2026-07-01": 24}


@pytest.mark.parametrize("missing", ["name", "source", "event", "partitions"])
def test_a_missing_key_is_named(missing: str) -> None:
    """Each required key is asked for by its name."""
    attributes = {key: value for key, value in ATTRIBUTES.items() if key != missing}
    with pytest.raises(ValidationError, match=missing):
        type(loaded()).from_attributes_dict(attributes=attributes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "1st"}, "pattern"),
        ({"nme": "x"}, "nme"),
        ({"source": {**SOURCE, "tabel": "x"}}, "tabel"),
        ({"source": {**SOURCE, "query": "select 1"}}, "exactly one of table, query and query_file"),
        ({"source": {"primary_key": "id", "time_column": "t"}}, "exactly one of table, query and query_file"),
        ({"source": {**SOURCE, "primary_key": []}}, "at least one column"),
        ({"source": {**SOURCE, "timezone": "Mars/Olympus"}}, "'Mars/Olympus' is no time zone"),
        ({"partitions": {"start": "yesterday"}}, "'yesterday' is no day"),
        ({"partitions": {"start": "2026-01-01", "cadence": "weekly"}}, "daily"),
        ({"partitions": {"start": "2026-01-01", "closing_delay": "soon"}}, "write 90s, 30m, 1h or 2d"),
        ({"delivery": {"batch_size": 101}}, "less than or equal to 100"),
        ({"delivery": {"requests_per_second": 0}}, "greater than 0"),
    ],
)
def test_a_wrong_value_says_what_is_allowed(changes: dict[str, Any], said: str) -> None:
    """A wrong key or value is refused in words that name it or what is allowed."""
    with pytest.raises(Exception, match=said):
        loaded(**changes)


def test_fields_that_lago_drops_are_refused_with_what_to_write_instead() -> None:
    """Lago's own Hightouch guide sends external_customer_id, which bills nothing."""
    event = {"code": "calls", "external_customer_id": "{{ row.customer }}"}
    with pytest.raises(TemplateError, match="write external_subscription_id"):
        definitions(event=event)


def test_a_query_file_lies_beside_the_yaml() -> None:
    """A query file that is not there is named with its path."""
    component = loaded(source={"query_file": "no.sql", "primary_key": "id", "time_column": "t"})
    with pytest.raises(ConfigError, match=r"query_file .*no\.sql: No such file"):
        component.build_defs(dg.ComponentTree.for_test().load_context)


def test_liquid_and_queries_pass_dagsters_jinja_untouched() -> None:
    """What looks like Jinja in `event` and `query` is left to Liquid and to the database."""
    sync = loaded(source={"query": "select '{{ x }}' as id", "primary_key": "id", "time_column": "t"}).sync()
    assert sync.source.query == "select '{{ x }}' as id"
    assert isinstance(sync.event, dict)
    assert sync.event["external_subscription_id"] == "{{ row.subscription }}"


def test_the_graph_reaches_from_the_table_to_lago() -> None:
    """Three assets in a group, their upstream table and the metric downstream are in the graph."""
    graph = definitions(source={**SOURCE, "table": "analytics.calls"}).resolve_asset_graph()
    key = dg.AssetKey
    assert graph.get(key(["calls", "usage_rows"])).parent_keys == {key(["analytics", "calls"])}
    assert graph.get(key(["calls", "events"])).parent_keys == {key(["calls", "usage_rows"])}
    assert graph.get(key(["calls", "deliveries"])).parent_keys == {key(["calls", "events"])}
    assert graph.get(key(["calls", "lago", "calls"])).parent_keys == {key(["calls", "deliveries"])}
    groups = {node.key.path[1]: node.group_name for node in graph.asset_nodes if node.key.path[0] == "calls"}
    assert groups == {"usage_rows": "calls", "events": "calls", "deliveries": "calls", "lago": "lago"}


@pytest.mark.parametrize("table", ["calls", "events", "deliveries", "usage_rows", "lago"])
def test_no_table_name_closes_a_circle(table: str) -> None:
    """A table named like the metric, or like an asset of ours, does not make the graph run in a circle."""
    graph = definitions(source={**SOURCE, "table": table}).resolve_asset_graph()
    assert len(graph.toposorted_asset_keys_by_level) >= 4


def test_an_upstream_asset_can_be_named() -> None:
    """`source.asset` takes the place of the table in the graph."""
    graph = definitions(source={**SOURCE, "asset": ["team/calls", "team/users"]}).resolve_asset_graph()
    parents = graph.get(dg.AssetKey(["calls", "usage_rows"])).parent_keys
    assert parents == {dg.AssetKey(["team", "calls"]), dg.AssetKey(["team", "users"])}


def test_a_code_that_depends_on_the_row_has_no_asset_downstream() -> None:
    """Only a literal code names one metric in Lago."""
    event = {"code": "{{ row.kind }}", "external_subscription_id": "{{ row.subscription }}"}
    keys = {node.key.to_user_string() for node in definitions(event=event).resolve_asset_graph().asset_nodes}
    assert {"calls/usage_rows", "calls/events", "calls/deliveries"} <= keys
    assert not [key for key in keys if "lago" in key]


def test_several_syncs_share_their_resources() -> None:
    """Two syncs merge into one location, since their default resources are the same objects."""
    merged = dg.Definitions.merge(definitions(), definitions(name="other"))
    assert merged.resolve_job_def("calls_sync").name == "calls_sync"
    assert merged.resolve_job_def("other_sync").name == "other_sync"


def test_a_sync_without_a_schedule_has_none() -> None:
    """`schedule: null` leaves the job to be started by hand."""
    assert not list(definitions(schedule=None).schedules or [])
    assert [item.name for item in definitions().schedules or []] == ["calls_schedule"]
