"""Declarative automation, which is the user's own to add."""

import json
from pathlib import Path

from lago_pipeline_tests.stranger.project import DAY, new_project, sync_yaml

UPSTREAM = """\
import dagster as dg


@dg.asset(key=["analytics", "calls"], partitions_def=dg.DailyPartitionsDefinition("2026-03-01"))
def analytics_calls() -> None: ...
"""
POST_PROCESSING = """\
post_processing:
  assets:
    - target: group:calls
      attributes:
        automation_condition: >-
          {{ dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window()) }}
"""
PROGRAM = """\
import json
import sys
from datetime import UTC, datetime

import dagster as dg

from billing.definitions import defs

definitions, day = defs(), sys.argv[1]
keys = [dg.AssetKey(["calls", name]) for name in ("usage_rows", "events", "deliveries")]
upstream = dg.AssetKey(["analytics", "calls"])
with dg.DagsterInstance.ephemeral() as instance:
    noon = datetime(2026, 3, 3, 12, tzinfo=UTC)
    told = {"instance": instance, "defs": definitions, "evaluation_time": noon}
    before = dg.evaluate_automation_conditions(**told)
    instance.report_runless_asset_event(dg.AssetMaterialization(upstream, partition=day))
    after = dg.evaluate_automation_conditions(cursor=before.cursor, **told)
parents = definitions.resolve_asset_graph().get(keys[0]).parent_keys
print(json.dumps({
    "parents": [key.to_user_string() for key in parents],
    "before": before.total_requested,
    "after": [sorted(after.get_requested_partitions(key)) for key in keys],
}))
"""


def test_an_upstream_asset_starts_a_sync(site: Path, tmp_path: Path) -> None:
    """With an automation condition of the user's, a new day upstream asks for that day of the sync."""
    project = new_project(tmp_path / "billing", site)
    project.write("defs/analytics.py", UPSTREAM)
    yaml = sync_yaml("calls", source="asset: analytics/calls", more="schedule: null")
    project.write("defs/calls/defs.yaml", yaml + POST_PROCESSING)
    told = json.loads(project.told("python", "-W", "ignore", "-c", PROGRAM, DAY))
    assert told == {"parents": ["analytics/calls"], "before": 0, "after": [[DAY]] * 3}
