"""What is in the wheel, and that strangers' projects import it rather than the checkout."""

from pathlib import Path
from zipfile import ZipFile

from lago_pipeline_tests.stranger.conftest import ROOT
from lago_pipeline_tests.stranger.project import Stranger


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
    assert any(name.startswith("lago_pipeline/ledger/migrations/versions/v0001") for name in names)
    assert any(name.startswith("lago_pipeline/sandbox/assets/") for name in names)
    assert {name for name in names if not name.startswith("lago_pipeline/")} == set()


def test_the_project_imports_the_installed_wheel(one_file: Stranger, site: Path) -> None:
    """Commands in a stranger's project run the wheel's code."""
    told = one_file.told("python", "-c", "import lago_pipeline.cli as c; print(c.__file__)")
    assert Path(told.strip()) == site / "lago_pipeline/cli/__init__.py"
