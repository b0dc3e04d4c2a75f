"""A Dagster project as `create-dagster project` makes it, driven through the command line."""

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lago_pipeline.sandbox.server import RunningSandbox

BIN = Path(sys.executable).parent
NAME = "billing"
DAY = "2026-03-02"
DEADLINE_SECONDS = 180.0

PYPROJECT = """\
[project]
name = "billing"
requires-python = ">=3.10,<3.15"
version = "0.1.0"
dependencies = ["dagster", "lago-pipeline"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
force-include = { "pyproject.toml" = "pyproject.toml" }

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "billing"
registry_modules = [
    "billing.components.*",
]
"""
DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""

# A run starts at once: no daemon would take it from a queue.
INSTANCE = """\
telemetry: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
"""


@dataclass(frozen=True)
class Stranger:
    """The project's folder, and the environment of a person who works in it."""

    root: Path
    site: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Dagster's home, beside the project."""
        return self.root.parent / "home"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of ours but the installed wheel: the project's own `src` stands for its installation."""
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.root.parent),
            "PYTHONPATH": f"{self.site}{os.pathsep}{self.root / 'src'}",
            "DAGSTER_HOME": str(self.home),
            "COLUMNS": "200",
            **self.variables,
        }

    def write(self, path: str, text: str) -> None:
        """Write a file below the project's package."""
        file = self.root / "src" / NAME / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def tried(self, *command: str, folder: str = "") -> subprocess.CompletedProcess[str]:
        """Call a command in the project, or in a folder of it."""
        return subprocess.run(
            (str(BIN / command[0]), *command[1:]),
            cwd=self.root / folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def told(self, *command: str, folder: str = "") -> str:
        """What a command prints that must go well."""
        result = self.tried(*command, folder=folder)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def materialized(self, sync: str, day: str = DAY) -> str:
        """Deliver one day of a sync through `dagster asset materialize`."""
        assets = ",".join(f"{sync}/{name}" for name in ("usage_rows", "events", "deliveries"))
        return self.told("dagster", "asset", "materialize", "-m", f"{NAME}.definitions",
                         "--select", assets, "--partition", day)  # fmt: skip


def new_project(root: Path, site: Path, **variables: str) -> Stranger:
    """An empty project; `variables` are set for all of its commands."""
    project = Stranger(root, site, variables)
    project.home.mkdir(parents=True)
    (project.home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    project.write("__init__.py", "")
    project.write("definitions.py", DEFINITIONS)
    project.write("defs/__init__.py", "")
    (root / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    return project


def sync_yaml(name: str, *, table: str = "", source: str = "", more: str = "") -> str:
    """The YAML of a sync; `source` and `more` are further lines of its source and its attributes."""
    return f"""\
type: lago_pipeline.UsageSync
attributes:
  name: {name}
  source:
    table: {table or name}
    primary_key: id
    time_column: called_at
    {source}
  event:
    code: {name}
    external_subscription_id: "{{{{ row.subscription }}}}"
    properties: {{units: "{{{{ row.units }}}}"}}
  partitions: {{start: 2026-03-01}}
  {more}
"""


def make_warehouse(path: Path, *tables: str) -> str:
    """A SQLite warehouse with three rows of one day in each table; returns its URL."""
    with sqlite3.connect(path) as connection:
        for table in tables:
            connection.execute(
                f"create table {table} (id text, called_at text, subscription text, units integer)"
            )
            connection.executemany(
                f"insert into {table} values (?, ?, 'sub_1', ?)",
                [(f"{table}-{hour}", f"{DAY} {hour:02}:00:00", hour) for hour in range(3)],
            )
    connection.close()
    return f"sqlite:///{path}"


def billed(lago: RunningSandbox) -> list[str]:
    """The rows that a sandbox holds, by the last part of their events' ids."""
    return sorted(re.sub(r".*:", "", str(event["transaction_id"])) for event in lago.events())
