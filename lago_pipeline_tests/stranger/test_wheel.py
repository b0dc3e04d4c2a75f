"""What is in the wheel, and that strangers' projects import it rather than the checkout."""

import ast
import re
import sys
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lago_pipeline import __version__
from lago_pipeline_tests.stranger.conftest import ROOT
from lago_pipeline_tests.stranger.project import Stranger


@pytest.fixture
def metadata(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    """dg.toml, code, migrations, YAML, SQL and the sandbox's page are in the wheel; tests are not."""
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = ROOT / "lago_pipeline"
    kinds = {".py", ".toml", ".yaml", ".sql", ".html", ".css", ".js"}
    built = wheel.stat().st_mtime
    files = {
        str(file.relative_to(ROOT))
        for file in package.rglob("*")
        if file.suffix in kinds and file.stat().st_ctime < built  # the checkout may change while tests run
    }
    assert files - names == set()
    assert "lago_pipeline/dg.toml" in names
    assert "lago_pipeline/py.typed" in names
    assert any(name.startswith("lago_pipeline/ledger/migrations/versions/v0001") for name in names)
    assert any(name.startswith("lago_pipeline/sandbox/assets/") for name in names)
    assert {name for name in names if not name.startswith("lago_pipeline/")} == set()


def test_the_project_imports_the_installed_wheel(one_file: Stranger, site: Path) -> None:
    """Commands in a stranger's project run the wheel's code."""
    told = one_file.told("python", "-c", "import lago_pipeline.cli as c; print(c.__file__)")
    assert Path(told.strip()) == site / "lago_pipeline/cli/__init__.py"


def test_the_wheel_says_who_may_use_it_and_with_which_python(wheel: Path, metadata: Message) -> None:
    """Licence and version come from the one place that each has; the changelog knows the version."""
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    with ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_whatever_the_package_imports_it_declares(metadata: Message) -> None:
    """The wheel works alone: no import leans on what only the tests' environment has."""
    declared = {
        canonicalize_name(Requirement(text).name)
        for text in metadata.get_all("Requires-Dist", [])
        if not re.search(r"extra == .(dev|postgres|mysql|duckdb)", text)
    }
    given = packages_distributions()
    undeclared = {
        name
        for name in _imported(ROOT / "lago_pipeline")
        if name not in {*sys.stdlib_module_names, "lago_pipeline", "dagster_shared"}  # the last is Dagster's
        and declared.isdisjoint(canonicalize_name(found) for found in given.get(name, ()))
    }
    assert undeclared == set()


def _imported(package: Path) -> Iterator[str]:
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.split(".")[0]
