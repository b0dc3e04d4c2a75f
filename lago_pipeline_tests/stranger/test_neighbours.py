"""A project with its own resources, in `definitions.py`, and with names that look like ours."""

import json
from pathlib import Path
from typing import Any

import pytest

from lago_pipeline.sandbox.server import RunningSandbox
from lago_pipeline_tests.stranger.project import Stranger, billed, make_warehouse, new_project, sync_yaml

DEFINITIONS = """\
from pathlib import Path

import dagster as dg

from lago_pipeline.resources import LagoResource, WarehouseResource


@dg.asset(group_name="calls")
def calls() -> None: ...


@dg.asset(group_name="lago")
def events() -> None: ...


@dg.asset(group_name="calls")
def deliveries() -> None: ...


@dg.asset(key=["other", "lago"], group_name="lago", deps=[["calls", "deliveries"]])
def another_lago() -> None: ...


@dg.definitions
def defs() -> dg.Definitions:
    ours = dg.Definitions(
        assets=[calls, events, deliveries, another_lago],
        jobs=[dg.define_asset_job("other", [calls, events]), dg.define_asset_job("calls_schedule", [calls])],
        resources={
            "warehouse": "a name",
            "lago": {"another": "thing"},
            "ledger": dg.ResourceDefinition.hardcoded_resource(3),
            "replica": WarehouseResource(url=dg.EnvVar("REPLICA_URL")),
            "lago_eu": LagoResource(api_url=dg.EnvVar("LAGO_EU_URL"), api_key=dg.EnvVar("LAGO_EU_KEY")),
        },
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(dg.load_from_defs_folder(path_within_project=Path(__file__).parent), ours)
"""
OWN = {"source": "connection: replica", "more": "destination: lago_eu"}


@pytest.fixture(scope="module")
def crowded(site: Path, lago: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """Syncs in one file and in folders; none of the variables of ours is set."""
    folder = tmp_path_factory.mktemp("crowded")
    project = new_project(
        folder / "billing",
        site,
        REPLICA_URL=make_warehouse(folder / "replica.db", "calls", "other"),
        LAGO_EU_URL=lago.api_url,
        LAGO_EU_KEY=lago.api_key,
    )
    project.write("definitions.py", DEFINITIONS)
    two = [sync_yaml(name, **OWN) for name in ("calls", "other")]
    project.write("defs/syncs/defs.yaml", "---\n".join(two))
    project.write("defs/team/events/defs.yaml", sync_yaml("events", **OWN))
    project.write("defs/team/lago/defs.yaml", sync_yaml("lago", table="billing.deliveries"))
    return project


@pytest.fixture(scope="module")
def listed(crowded: Stranger) -> dict[str, Any]:
    """What `dg list defs` finds."""
    found: dict[str, Any] = json.loads(crowded.told("dg", "list", "defs", "--json"))
    return found


@pytest.mark.parametrize("sync", ["calls", "other", "events", "lago"])
def test_every_sync_is_there(listed: dict[str, Any], sync: str) -> None:
    """Syncs split by `---` and syncs in several folders are loaded side by side."""
    groups = {asset["asset_key"]: asset["group_name"] for asset in listed["assets"]}
    assert [groups[f"{sync}/{name}"] for name in ("usage_rows", "events", "deliveries")] == [sync] * 3
    assert f"{sync}_sync" in {job["name"] for job in listed["jobs"]}


def test_names_that_look_like_ours_stay_the_projects(listed: dict[str, Any]) -> None:
    """Assets, jobs and resources of the project keep their names, groups and neighbours."""
    assets = {asset["asset_key"]: asset for asset in listed["assets"]}
    assert {"calls", "events", "deliveries", "other/lago"} <= set(assets)
    assert assets["calls/usage_rows"]["dependency_keys"] == ["calls"]
    assert assets["events"]["dependency_keys"] == []
    assert {"other", "calls_schedule"} <= {job["name"] for job in listed["jobs"]}
    assert {"warehouse", "lago", "ledger", "replica"} <= {item["name"] for item in listed["resources"]}


def test_dagster_uses_the_projects_own_resources(crowded: Stranger, lago: RunningSandbox) -> None:
    """`source.connection` and `destination` name resources that `definitions.py` alone declares."""
    lago.reset()
    crowded.materialized("calls")
    assert billed(lago) == ["calls-0", "calls-1", "calls-2"]


def test_our_command_uses_them_too(crowded: Stranger, lago: RunningSandbox) -> None:
    """`lago-pipeline run` loads the project's code location, with what is merged in there."""
    lago.reset()
    told = crowded.told("lago-pipeline", "run", "other", "--from", "2026-03-02", "--to", "2026-03-02")
    assert "3" in told
    assert billed(lago) == ["other-0", "other-1", "other-2"]
