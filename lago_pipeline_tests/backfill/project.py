"""A Dagster project with one sync, whose past a person wants to bill."""

import shutil
from pathlib import Path

from lago_pipeline_tests.stranger.project import Stranger, new_project

ROOT = Path(__file__).parents[2]
SYNC = "calls"
OWN_ASSETS = ("usage_rows", "events", "deliveries")


def past_project(
    folder: Path, *, start: str, per_run: int, source: str, more: str = "", **variables: str
) -> Stranger:
    """A project on the checkout, with the settings of our own instance; `source` is lines of YAML."""
    project = new_project(folder / "billing", ROOT, **variables)
    shutil.copy(ROOT / "dagster.yaml", project.home / "dagster.yaml")
    project.write(f"defs/{SYNC}/defs.yaml", past_yaml(start, per_run, source) + more)
    return project


def past_yaml(start: str, per_run: int, source: str) -> str:
    """The YAML of a sync that nothing starts but a person."""
    return f"""\
type: lago_pipeline.UsageSync
attributes:
  name: {SYNC}
  source:
    {source.strip()}
    primary_key: id
    time_column: called_at
  event:
    code: {SYNC}
    external_subscription_id: "{{{{ row.subscription }}}}"
    properties: {{units: "{{{{ row.units }}}}", region: "{{{{ row.region | downcase }}}}"}}
  partitions: {{start: {start}, per_run: {per_run}}}
  schedule: null
"""
