"""A project with one `defs.yaml` and no resources of its own."""

import json

import pytest

from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.stranger.project import Stranger, billed


@pytest.fixture(scope="module")
def listed(one_file: Stranger) -> str:
    """What `dg list defs` finds."""
    return one_file.told("dg", "list", "defs", "--json")


def test_dagster_accepts_the_project(one_file: Stranger) -> None:
    """`dagster definitions validate` passes."""
    result = one_file.tried("dagster", "definitions", "validate")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Validation successful for code location billing.definitions" in result.stdout + result.stderr


def test_the_projects_assets_are_those_of_its_one_sync(listed: str) -> None:
    """The sync's assets, job and schedule are there, and nothing of the demo's."""
    keys = {asset["asset_key"] for asset in json.loads(listed)["assets"]}
    assert {"calls/usage_rows", "calls/events", "calls/deliveries", "calls/lago/calls"} <= keys
    assert all(key.split("/", maxsplit=1)[0] == "calls" for key in keys)
    assert "calls_sync" in listed
    assert not [name for name in ("api_requests", "active_seats", "demo_lago") if name in listed]


def test_a_day_is_delivered(one_file: Stranger, lago: RunningSandbox) -> None:
    """`dagster asset materialize` bills the day, with Dagster's default executor."""
    lago.reset()
    one_file.materialized("calls")
    assert billed(lago) == ["calls-0", "calls-1", "calls-2"]
