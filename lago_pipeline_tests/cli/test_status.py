"""`lago-pipeline status`: every partition that waits, why and for what; paused and removed syncs."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import alembic.command
import dagster as dg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from click.testing import CliRunner, Result
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from lago_pipeline.cli import main
from lago_pipeline.cli.project import load_project
from lago_pipeline.cli.status_rows import age
from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger import database
from lago_pipeline.ledger.database import open_ledger, writing
from lago_pipeline.ledger.registry import RegisteredSync, activate
from lago_pipeline.partition import epoch_ms
from lago_pipeline.sync import Sync
from lago_pipeline.watch.status import SyncStatus, sync_status
from lago_pipeline_tests.components.conftest import loaded
from lago_pipeline_tests.components.unattended import at
from lago_pipeline_tests.stranger.project import DEFINITIONS, PYPROJECT, sync_yaml

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
NOW = "2026-03-20 12:00"
OLD_KEYS = {
    "sync", "partition", "state", "extracted", "billed", "changed", "removed", "unbilled", "reasons",
    "snapshot_at", "next_attempt_at", "attempts", "run_id", "updated_at",
}  # fmt: skip


def ms(text: str) -> int:
    """An instant of UTC in epoch milliseconds."""
    return epoch_ms(at(text))


class Book:
    """A sync in a ledger of its own, and what is written there of its days."""

    def __init__(self, engine: sa.Engine, since: str | None = "2026-03-18 09:00", **changes: Any) -> None:
        component = loaded(**changes)
        self.engine, self.sync, self.wiring = engine, component.sync(), component.wiring()
        self.known = _known(engine, self.sync, since)

    def day(self, start: str, state: str, *, length: int = DAY_MS, **columns: Any) -> None:
        """Write a partition."""
        values = {"sync_id": self.known.sync_id, "partition_start": ms(start), "state": state,
                  "partition_end": ms(start) + length, "partition_key": start[:10], "updated_ms": 0,
                  **columns}  # fmt: skip
        self.insert("partitions", values)

    def run(self, number: int, start: str, ended: str, **columns: Any) -> None:
        """Write a run of a partition."""
        values = {"run_id": f"run-{number}", "sync_id": self.known.sync_id, "partition_start": ms(start),
                  "started_ms": 0, "ended_ms": ms(ended), **columns}  # fmt: skip
        self.insert("runs", values)

    def insert(self, table: str, values: dict[str, Any]) -> None:
        """Insert a row."""
        names = f"({', '.join(values)}) values ({', '.join(f':{name}' for name in values)})"
        with writing(self.engine) as connection:
            connection.execute(sa.text(f"insert into {table} {names}"), values)

    def status(self, last: int = 14, now: str = NOW) -> SyncStatus:
        """How the sync stands."""
        return sync_status(self.engine, self.sync, self.wiring, ms(now), last)

    def lines(self, last: int = 14, now: str = NOW) -> list[tuple[str, str, str]]:
        """First and last partition and state of each line."""
        return [(line.first.key, line.last.key, line.state.value) for line in self.status(last, now).lines]


def _known(engine: sa.Engine, sync: Sync, since: str | None) -> RegisteredSync:
    known = activate(engine, sync, ms(since or NOW))
    if since is None:
        with writing(engine) as connection:
            connection.execute(sa.text("update syncs set activated_at_ms = null"))
    return known


def test_every_partition_that_waits_is_listed_and_the_latest_closed_ones(ledger_engine: sa.Engine) -> None:
    """Unsettled ones however old, gaps, the open one; of the closed ones no more than was asked for."""
    book = Book(ledger_engine)
    book.day("2026-03-01", "unsettled", extracted=9, accepted=7, pending=2)
    for day in range(2, 9):
        book.day(f"2026-03-0{day}", "closed", extracted=5, unchanged=2, accepted=2, changed=1, removed=3)
    book.day("2026-03-19", "open")
    assert book.lines(last=2) == [
        ("2026-03-20", "2026-03-20", "open"),
        ("2026-03-19", "2026-03-19", "open"),
        ("2026-03-18", "2026-03-18", "open"),
        ("2026-03-08", "2026-03-08", "closed"),
        ("2026-03-07", "2026-03-07", "closed"),
        ("2026-03-01", "2026-03-01", "unsettled"),
    ]
    found = book.status(last=0)
    assert (found.open, found.unsettled, found.closed, found.unbilled) == (3, 1, 7, 2)
    assert found.oldest_unsettled is not None
    assert found.oldest_unsettled.first.key == "2026-03-01"
    assert [line.record is None for line in found.lines] == [True, False, True, False]


def test_a_sync_that_never_started_has_only_what_was_delivered(ledger_engine: sa.Engine) -> None:
    """Before the first start no day is due by itself."""
    book = Book(ledger_engine, since=None)
    assert book.status() == SyncStatus(None, book.known.sync_id)
    book.day("2026-03-05", "closed")
    assert book.lines() == [("2026-03-05", "2026-03-05", "closed")]


def test_a_long_row_of_gaps_is_one_line_and_a_week_is_not(ledger_engine: sa.Engine) -> None:
    """Eight neighbours that were never begun are one line, seven are seven; the open one stands alone."""
    book = Book(ledger_engine, since="2026-03-02 09:00")
    book.day("2026-03-10", "closed")
    week = [(f"2026-03-{day}", f"2026-03-{day}", "open") for day in range(17, 10, -1)]
    assert book.lines(now="2026-03-18 02:00", last=0) == [
        ("2026-03-18", "2026-03-18", "open"),  # not ended
        *week,
        ("2026-03-02", "2026-03-09", "open"),
    ]
    folded = book.status(now="2026-03-18 02:00").lines[-1]
    assert (folded.partitions, folded.age_ms(ms("2026-03-18 02:00"))) == (8, 15 * DAY_MS + 2 * HOUR_MS)
    assert book.status(now="2026-03-18 02:00").open == 16


@pytest.mark.parametrize(
    ("state", "columns", "expected"),
    [
        (None, {}, "2026-03-20 01:00"),
        ("open", {}, "2026-03-20 01:00"),
        ("open", {"asks": 1, "asked_ms": ms("2026-03-20 11:55")}, "2026-03-20 12:10"),
        ("open", {"asks": 2, "asked_ms": ms("2026-03-20 11:55")}, "2026-03-20 12:55"),
        ("unsettled", {"next_attempt_ms": ms("2026-03-20 18:00")}, "2026-03-20 18:00"),
        (
            "unsettled",
            {"asks": 1, "asked_ms": ms("2026-03-20 11:55"), "next_attempt_ms": ms("2026-03-20 11:50")},
            "2026-03-20 12:10",
        ),
        ("closed", {}, None),
    ],
)
def test_the_next_attempt_is_when_a_run_is_asked_for(
    sqlite_ledger: sa.Engine, state: str | None, columns: dict[str, Any], expected: str | None
) -> None:
    """After the closing delay, after the wait for a result, or at an unsettled one's next attempt."""
    book = Book(sqlite_ledger, since="2026-03-19 09:00")
    if state:
        book.day("2026-03-19", state, **columns)
    open_one, yesterday = book.status().lines
    assert yesterday.next_attempt_ms == (ms(expected) if expected else None)
    assert (open_one.first.key, open_one.next_attempt_ms, open_one.age_ms(ms(NOW))) == (
        "2026-03-20",
        None,
        None,
    )


def test_unbilled_usage_waits_since_the_first_run_that_left_it(ledger_engine: sa.Engine) -> None:
    """The wait begins with the first of the runs that left usage unbilled since all was billed."""
    book = Book(ledger_engine)
    for number, (ended, pending) in enumerate([("12", 5), ("13", 0), ("14", 2), ("15", 1)], start=1):
        book.run(number, "2026-03-10", f"2026-03-{ended} 08:00", pending=pending)
    book.day("2026-03-10", "unsettled", pending=1, last_run=4, attempts=2, reasons="pending")
    line = book.status().lines[-1]
    assert line.waiting_since_ms == ms("2026-03-14 08:00")
    assert line.run_id == "run-4"


def test_partitions_of_an_earlier_cadence_are_listed_and_never_due(ledger_engine: sa.Engine) -> None:
    """A day that was left unsettled before the sync went hourly stays in sight."""
    book = Book(ledger_engine, "2026-03-20 11:00", partitions={"start": "2026-03-01", "cadence": "hourly"})
    book.day("2026-03-10", "unsettled", pending=1, next_attempt_ms=5)
    old = book.status().lines[-1]
    assert (old.first.key, old.state.value, old.next_attempt_ms) == ("2026-03-10", "unsettled", None)


def test_five_years_of_hours_cost_no_more_than_a_day(sqlite_ledger: sa.Engine) -> None:
    """With 44,000 closed hours no more than twenty statements are run and a hundred rows read."""
    book = Book(sqlite_ledger, "2021-03-20 12:00", partitions={"start": "2021-03-01", "cadence": "hourly"})
    first, hours = ms("2021-03-20 12:00"), 43_824
    with writing(sqlite_ledger) as connection:
        connection.exec_driver_sql(
            "with recursive hours(value) as (select 0 union all select value + 1 from hours "
            f"where value < {hours - 1}) insert into partitions (sync_id, partition_start, partition_end, "
            "partition_key, state, updated_ms, last_run) "
            f"select 1, {first} + value * 3600000, {first} + (value + 1) * 3600000, 'hour ' || value, "
            "case when value in (5, 20000) then 'unsettled' else 'closed' end, 0, value from hours"
        )
        connection.exec_driver_sql(
            "insert into runs (run_id, sync_id, partition_start, started_ms, ended_ms, run, pending) "
            "select 'run-' || last_run, 1, partition_start, 0, 0, last_run, state = 'unsettled' "
            "from partitions where last_run > 0"
        )
    with counted(sqlite_ledger) as work:
        found = book.status(now="2026-03-20 12:30")
    assert (found.closed, found.unsettled, found.open) == (hours - 2, 2, 1)
    assert len(found.lines) == 17
    assert {line.run_id for line in found.lines} >= {"run-5", "run-20000", f"run-{hours - 1}"}
    assert work["statements"] <= 20
    assert work["rows"] <= 100


@contextmanager
def counted(engine: sa.Engine) -> Iterator[dict[str, int]]:
    """Count the statements and the rows that are read from a ledger."""
    work = {"statements": 0, "rows": 0}

    def row(_: object, found: tuple[Any, ...]) -> tuple[Any, ...]:
        work["rows"] += 1
        return found

    def connected(connection: Any, _: object) -> None:
        connection.row_factory = row

    def executed(*_: object) -> None:
        work["statements"] += 1

    engine.dispose()
    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "before_cursor_execute", executed)
    yield work
    sa.event.remove(engine, "connect", connected)
    sa.event.remove(engine, "before_cursor_execute", executed)
    engine.dispose()


@pytest.fixture
def sqlite_ledger(sqlite_database: str) -> Iterator[sa.Engine]:
    """A new ledger on SQLite."""
    engine = open_ledger(sqlite_database)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("span", "words"),
    [(timedelta(seconds=59), "0 min"), (timedelta(minutes=59), "59 min"), (timedelta(hours=5), "5 h"),
     (timedelta(hours=23, minutes=59), "23 h"), (timedelta(days=3, hours=20), "3 d")],
)  # fmt: skip
def test_ages_are_told_in_one_unit(span: timedelta, words: str) -> None:
    """An age is minutes, hours or days, rounded down."""
    assert age(span // timedelta(milliseconds=1)) == words


class Stranger:
    """A project of somebody else's with syncs, its state and its Dagster home."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root, self.package = root, package

    def declare(self, folder: str, text: str) -> None:
        """Write a sync's YAML."""
        file = self.package / "defs" / folder / "defs.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def call(self, *arguments: str) -> Result:
        """Call `lago-pipeline`."""
        return CliRunner().invoke(main, list(arguments))

    def status(self, *arguments: str) -> str:
        """What `status` prints."""
        result = self.call("status", *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What `status --json` prints."""
        found: list[dict[str, Any]] = json.loads(self.status("--json", *arguments))
        return found

    @contextmanager
    def ledger(self) -> Iterator[sa.Engine]:
        """The project's ledger, made if it is not there."""
        engine = open_ledger(f"sqlite:///{self.root / 'state' / 'ledger.db'}")
        yield engine
        engine.dispose()

    def start(self, name: str, since: str) -> None:
        """Let a sync run by itself since an instant."""
        with self.ledger() as engine:
            activate(engine, load_project().syncs[name].sync, ms(since))

    def change(self, sql: str) -> None:
        """Change the ledger by hand."""
        with self.ledger() as engine, writing(engine) as connection:
            connection.exec_driver_sql(sql)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Stranger:
    """A project with one sync, `calls`, that nobody has started; the folder of this test is its own."""
    name = f"status_{abs(hash(request.node.nodeid))}"
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", {**os.environ})
    for variable in ("LEDGER_URL", "DAGSTER_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LAGO_PIPELINE_STATE", str(tmp_path / "state"))
    made = Stranger(tmp_path, tmp_path / "src" / name)
    for path, text in {"__init__.py": "", "defs/__init__.py": "", "definitions.py": DEFINITIONS}.items():
        (made.package / path).parent.mkdir(parents=True, exist_ok=True)
        (made.package / path).write_text(text)
    made.declare("calls", sync_yaml("calls"))
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.replace("billing", name))
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    return made


def test_without_a_ledger_nothing_was_delivered_and_none_is_made(stranger: Stranger) -> None:
    """Status of a project that never ran says so, and leaves no file."""
    told = stranger.status()
    assert "calls: never started; 0 open, 0 unsettled, 0 closed" in told
    assert "nothing was delivered yet: lago-pipeline run SYNC --from DAY --to DAY" in told
    (row,) = stranger.rows()
    assert (row["sync"], row["partition"], row["summary"]["activated_at"]) == ("calls", None, None)
    assert not (stranger.root / "state").exists()


def test_a_ledger_of_an_older_version_is_read_too(stranger: Stranger) -> None:
    """After an upgrade of the package status works before the first run does."""
    engine = database._engine(f"sqlite:///{stranger.root / 'state' / 'ledger.db'}")
    config = Config()
    config.set_main_option("script_location", str(database._MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
        connection.exec_driver_sql("insert into destinations (name) values ('lago')")
    engine.dispose()
    assert "calls: never started" in stranger.status()


def test_the_table_and_its_head_tell_what_waits(stranger: Stranger) -> None:
    """Gaps are one line, times are words, and the line above sums up; JSON has the same."""
    stranger.start("calls", "2026-03-02 09:00")
    stranger.change(
        "insert into partitions (sync_id, partition_start, partition_end, partition_key, state, updated_ms, "
        f"extracted, accepted, pending, reasons, attempts, next_attempt_ms) values (1, {ms('2026-03-11')}, "
        f"{ms('2026-03-12')}, '2026-03-11', 'unsettled', 0, 1200, 1199, 1, 'pending', 3, 7)"
    )
    told = stranger.status()
    assert "calls: runs by itself since 2026-03-02T09:00Z; " in told
    assert "1 unsettled, 0 closed partitions; 1 row not billed; oldest unsettled 2026-03-11 (" in told
    (gap,) = [line for line in told.splitlines() if "2026-03-02 .." in line]
    assert [cell.strip() for cell in gap.split("│")[1:4]] == [
        "calls", "2026-03-02 .. 2026-03-10, 9 partitions", "open",
    ]  # fmt: skip
    assert " due " in gap
    assert "1,199" in told
    assert "waiting since" not in told  # no run is known: a column that says nothing is left out
    rows = stranger.rows("calls")
    folded, unsettled = rows[-1], rows[-2]
    assert (folded["partition_from"], folded["partition_to"], folded["partitions"]) == (
        "2026-03-02", "2026-03-10", 9,
    )  # fmt: skip
    assert (folded["extracted"], folded["state"]) == (None, "open")
    assert set(unsettled) >= OLD_KEYS
    assert (unsettled["billed"], unsettled["unbilled"], unsettled["attempts"]) == (1199, 1, 3)
    assert unsettled["age_seconds"] > 0
    assert unsettled["summary"]["oldest_unsettled"] == "2026-03-11"


def test_removed_syncs_are_listed_with_what_to_do(stranger: Stranger) -> None:
    """What the project has no more is told, and how to go on with it; not where one sync is asked for."""
    stranger.declare("texts", sync_yaml("texts"))
    stranger.declare("faxes", sync_yaml("faxes"))
    for name in ("texts", "faxes"):
        stranger.start(name, "2026-03-02 09:00")
    stranger.change(
        "insert into partitions (sync_id, partition_start, partition_end, partition_key, state, updated_ms) "
        "values (1, 0, 1, 'a', 'open', 0), (1, 1, 2, 'b', 'unsettled', 0), (2, 0, 1, 'a', 'closed', 0)"
    )
    (stranger.package / "defs/texts/defs.yaml").unlink()
    (stranger.package / "defs/faxes/defs.yaml").unlink()
    told = stranger.status()
    assert (
        "texts: removed from this project; 1 open, 1 unsettled: bring the sync back under its name "
        "(destination lago) to go on with it"
    ) in told
    assert "faxes: removed from this project; all of it is closed: nothing to do" in told
    gone = {row["sync"]: row["summary"] for row in stranger.rows() if row["state"] == "removed"}
    assert gone["texts"] == {"removed": True, "open": 1, "unsettled": 1}
    assert "removed" not in stranger.status("calls")


def test_a_renamed_sync_is_not_called_removed(stranger: Stranger) -> None:
    """A sync under a new name and its old prefix stands under the new name before its first run, too."""
    stranger.start("calls", "2026-03-02 09:00")
    renamed = sync_yaml("phone_calls", table="calls", more="transaction_id_prefix: calls")
    stranger.declare("calls", renamed.replace("code: phone_calls", "code: calls"))
    told = stranger.status()
    assert "phone_calls: runs by itself since 2026-03-02T09:00Z" in told
    assert "removed" not in told


def stop(location: str, *names: str, status: InstigatorStatus = InstigatorStatus.STOPPED) -> None:
    """Switch schedules and sensors of a code location off, as the UI does."""
    target = LoadableTargetOrigin(module_name="x")
    code = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name=location)
    with dg.DagsterInstance.get() as instance:
        for name in names:
            origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, "__repository__"), name)
            is_schedule = name.endswith("_schedule")
            kind = InstigatorType.SCHEDULE if is_schedule else InstigatorType.SENSOR
            data = ScheduleInstigatorData("* * * * *") if is_schedule else SensorInstigatorData()
            instance.add_instigator_state(InstigatorState(origin, kind, status, data))


@pytest.fixture
def home(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Dagster home of the project, whose code location has the name of its folder."""
    folder = stranger.root / "home"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


def test_what_is_stopped_in_dagster_is_told(stranger: Stranger, home: Path) -> None:
    """A paused sync says what is stopped, and its partitions stay due."""
    del home
    stranger.start("calls", "2026-03-02 09:00")
    assert "paused" not in stranger.status()
    stop(stranger.root.name, "calls_schedule", "calls_not_closed", "calls_late_rows", "calls_other")
    told = stranger.status()
    assert "; paused: the schedule and 2 sensors are stopped\n" in told
    assert " due " in told
    summary = stranger.rows()[0]["summary"]
    assert summary["stopped"] == ["calls_schedule", "calls_not_closed", "calls_late_rows"]


def test_a_pause_of_another_code_location_is_none(stranger: Stranger, home: Path) -> None:
    """The project's own code location counts; only where Dagster knows none of its name, all others do."""
    del home
    stop("other", "calls_alarm")
    assert "; paused: the sensor calls_alarm is stopped\n" in stranger.status()
    stop("third", "calls_alarm", status=InstigatorStatus.RUNNING)
    assert "paused" not in stranger.status()
    stop("other", "calls_schedule")
    stop(stranger.root.name, "calls_schedule", status=InstigatorStatus.RUNNING)
    assert "paused" not in stranger.status()


def test_a_dagster_home_that_cannot_be_read_is_told_after_the_rest(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger's part is shown all the same, and the exit code is 1."""
    monkeypatch.setenv("DAGSTER_HOME", str(stranger.root / "nowhere"))
    result = stranger.call("status")
    assert result.exit_code == 1
    assert "calls: never started" in result.stdout
    assert result.stderr.startswith("Error: what is paused cannot be read from $DAGSTER_HOME: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_sync_without_a_schedule_is_started_by_hand(stranger: Stranger) -> None:
    """A sync with `schedule: null` says that nothing starts it."""
    stranger.declare("calls", sync_yaml("calls", more="schedule: null"))
    assert "calls: started by hand only; 0 open" in stranger.status()


def test_two_syncs_of_one_name_are_refused_with_their_files(stranger: Stranger) -> None:
    """Neither silently takes the other's place: one line names both files."""
    stranger.declare("again", sync_yaml("calls"))
    with pytest.raises(ConfigError) as refused:
        load_project()
    folder = f"src/{stranger.package.name}/defs"
    assert str(refused.value) == (
        f"sync calls is declared 2 times ({folder}/again/defs.yaml, {folder}/calls/defs.yaml): "
        "give each a name of its own"
    )


@pytest.mark.parametrize("arguments", [("preview", "calls"), ("run", "calls", "--to", "2026-09-01")])
def test_a_sync_of_the_future_says_when_it_begins(stranger: Stranger, arguments: tuple[str, ...]) -> None:
    """A range of a sync that has no partition yet is refused with its start."""
    stranger.declare("calls", sync_yaml("calls").replace("2026-03-01", "2999-01-01"))
    result = stranger.call(*arguments)
    assert result.exit_code == 1
    assert "Error: this sync begins at 2999-01-01 00:00 UTC: it has no partition yet" in result.stderr
    assert "nothing was delivered yet" in stranger.status()
