"""`lago-pipeline ledger`: the ledger of LEDGER_URL into a file and back, as a person would call it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lago_pipeline.cli import main
from lago_pipeline.ledger.database import open_ledger, reading
from lago_pipeline.ledger.registry import activate, find
from lago_pipeline_tests.ledger.test_ledger import SYNC
from lago_pipeline_tests.postgres import PASSWORD

Ledger = Callable[..., Result]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Call `lago-pipeline ledger` with a LEDGER_URL and arguments."""

    def call(url: str, *arguments: str | Path) -> Result:
        monkeypatch.setenv("LEDGER_URL", url)
        return CliRunner().invoke(main, ["ledger", *map(str, arguments)])

    return call


@pytest.fixture
def used(sqlite_database: str) -> str:
    """The URL of a SQLite ledger that knows one sync."""
    engine = open_ledger(sqlite_database)
    activate(engine, SYNC, 5)
    engine.dispose()
    return sqlite_database


@pytest.mark.parametrize("name", ["export", "import"])
def test_each_direction_has_help(name: str) -> None:
    """`--help` tells what each direction does, and that the ledger is LEDGER_URL's."""
    assert "LEDGER_URL" in CliRunner().invoke(main, ["ledger", "--help"]).stdout
    result = CliRunner().invoke(main, ["ledger", name, "--help"])
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "FILE" in result.stdout


def test_a_ledger_moves_by_two_commands(
    ledger: Ledger, used: str, postgres_database: str, tmp_path: Path
) -> None:
    """Export here, import there: both say the same of every table, and no password is printed."""
    path = tmp_path / "ledger.zip"
    out = ledger(used, "export", path, "--json")
    back = ledger(postgres_database, "import", path, "--json")
    assert (out.exit_code, back.exit_code) == (0, 0), out.output + back.output
    first, second = json.loads(out.stdout), json.loads(back.stdout)
    assert first["tables"] == second["tables"]
    assert first["tables"]["syncs"]["rows"] == 1
    assert "export syncs: 1 rows" in out.stderr
    assert "verify syncs: 1 rows" in back.stderr
    assert PASSWORD not in out.output + back.output
    engine = open_ledger(postgres_database)
    found = find(engine, SYNC)
    engine.dispose()
    assert found is not None
    assert found.activated_at_ms == 5


def test_without_json_a_table_is_printed(ledger: Ledger, used: str, tmp_path: Path) -> None:
    """A person sees each table with its rows and its sum."""
    result = ledger(used, "export", tmp_path / "ledger.zip")
    assert result.exit_code == 0, result.output
    assert "verified:" in result.stdout
    assert "destinations" in result.stdout


def test_a_refusal_is_one_line_and_fails(ledger: Ledger, used: str, tmp_path: Path) -> None:
    """A ledger in use and a file that is none end with 1 and one line, and the ledger stays as it was."""
    path = tmp_path / "ledger.zip"
    assert ledger(used, "export", path).exit_code == 0
    again = ledger(used, "import", path)
    (tmp_path / "text.zip").write_text("no zip")
    foreign = ledger(f"sqlite:///{tmp_path / 'new.db'}", "import", tmp_path / "text.zip")
    taken = ledger(used, "export", path)
    for result, said in ((again, "is in use"), (foreign, "is no ledger export"), (taken, "exists already")):
        assert result.exit_code == 1
        assert said in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    engine = open_ledger(used)
    with reading(engine) as connection:
        assert connection.exec_driver_sql("select count(*) from syncs").scalar_one() == 1
    engine.dispose()
