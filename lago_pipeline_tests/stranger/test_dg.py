"""What `dg` shows, scaffolds and checks."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lago_pipeline_tests.stranger.project import Stranger, new_project, sync_yaml


@pytest.fixture(scope="module")
def empty(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """A project without a sync."""
    return new_project(tmp_path_factory.mktemp("empty") / "billing", site)


@pytest.fixture
def typo(empty: Stranger) -> Iterator[Stranger]:
    """The project with a sync that has a wrong key in a section."""
    empty.write("defs/wrong/defs.yaml", sync_yaml("wrong").replace("primary_key", "primary_kee"))
    yield empty
    (empty.root / "src/billing/defs/wrong/defs.yaml").unlink()


def test_dg_lists_and_explains_the_component(empty: Stranger) -> None:
    """`dg list components` shows the component, and `dg utils inspect-component` its described schema."""
    assert "lago_pipeline.UsageSync" in empty.told("dg", "list", "components")
    told = empty.told("dg", "utils", "inspect-component", "lago_pipeline.UsageSync")
    assert '"description": "Events a request; Lago takes up to 100."' in told


def test_a_scaffolded_sync_passes_the_check_as_it_is(empty: Stranger) -> None:
    """`dg scaffold defs` writes a file that `dg check yaml` takes, named after its folder."""
    empty.told("dg", "scaffold", "defs", "lago_pipeline.UsageSync", "team/api-calls")
    text = (empty.root / "src/billing/defs/team/api-calls/defs.yaml").read_text()
    assert "  name: api_calls  #" in text
    assert f"start: {datetime.now(UTC).date().replace(day=1)}" in text
    assert "validated successfully" in empty.told("dg", "check", "yaml")


def test_dg_points_at_a_typo(typo: Stranger) -> None:
    """`dg check yaml` names the file, the line and the key, and marks the column."""
    # without a path `dg` checks the last sync that it finds, and none of the others
    result = typo.tried("dg", "check", "yaml", "src/billing/defs/wrong")
    assert result.returncode == 1
    assert "defs/wrong/defs.yaml:6 - " in result.stdout
    assert re.search(r"\| {5}\^ Additional properties .*'primary_kee' was unexpected", result.stdout)
