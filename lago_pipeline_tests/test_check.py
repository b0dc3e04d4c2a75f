"""The core of `lago-pipeline check`: the order of checks, the ledger that is only read, and Lago."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lago_pipeline.check.environment import unwritable
from lago_pipeline.check.finding import Check, Checkup, Level, Need, Told
from lago_pipeline.check.ledger import LEDGER_CHECKS, Ledger
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.probe import NO_EVENTS, SubscriptionSpan, ask, billable_metric, subscription_spans
from lago_pipeline.ledger.database import SCHEMA_VERSION, open_ledger
from lago_pipeline.sandbox.server import RunningSandbox, running


@dataclass(frozen=True)
class Thing:
    """Something to check."""

    name: str = "thing"
    needs: tuple[Need, ...] = ()
    neighbours: Mapping[str, str] = field(default_factory=dict)


def well(_: Thing) -> Iterable[Told]:
    """A check that holds."""
    yield Told("well")


def broken(_: Thing) -> Iterable[Told]:
    """A check that finds something well, and then cannot go on."""
    yield Told("half of it")
    raise ConfigError("it is broken")


def warned(_: Thing) -> Iterable[Told]:
    """A check that only warns."""
    yield Told("careful", Level.WARNING, "be careful")


def test_a_check_that_fails_stops_only_what_needs_it() -> None:
    """Others go on; what depends on it, also by another check, names the first cause."""
    checkup = Checkup()
    checks = [
        Check("first", broken, remedy="mend it"),
        Check("second", well, ("first",)),
        Check("third", well, ("second",)),
        Check("other", well),
    ]
    checkup.run(Thing(), checks)
    assert [(found.check, found.level, found.says, found.remedy) for found in checkup.findings] == [
        ("first", "ok", "half of it", ""),
        ("first", "error", "it is broken", "mend it"),
        ("second", "skipped", "not checked: first comes first", ""),
        ("third", "skipped", "not checked: first comes first", ""),
        ("other", "ok", "well", ""),
    ]
    assert [found.ok for found in checkup.findings] == [True, False, None, None, True]


def test_a_neighbour_that_fails_is_named_with_its_check() -> None:
    """A warning keeps back what needs it too; a subject's own needs hold for all of its checks."""
    checkup = Checkup()
    checkup.run(Thing("base"), [Check("firm", warned)])
    checkup.run(Thing("house", neighbours={"ground": "base"}), [Check("stands", well, ("ground: firm",))])
    checkup.run(Thing("tent", needs=(("base", "firm"),)), [Check("stands", well)])
    assert [found.says for found in checkup.findings[1:]] == ["not checked: base: firm comes first"] * 2


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What checks leave open."""
    with ExitStack() as opened:
        yield opened


def checked(ledger: Ledger) -> list[tuple[str, str]]:
    """Level and words of the ledger's checks."""
    checkup = Checkup()
    checkup.run(ledger, LEDGER_CHECKS)
    return [(found.level, found.says) for found in checkup.findings]


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path, stack: ExitStack) -> None:
    """A missing SQLite ledger is well where its folder can be made, and stays missing."""
    folder = tmp_path / "deep" / "state"
    assert checked(Ledger(f"sqlite:///{folder / 'ledger.db'}", stack)) == [
        ("ok", f"will be created in {folder}"),
        ("ok", f"{SCHEMA_VERSION} will be made by the first run"),
    ]
    assert not (tmp_path / "deep").exists()
    (tmp_path / "deep").touch()
    level, says = checked(Ledger(f"sqlite:///{folder / 'ledger.db'}", stack))[0]
    assert (level, says) == ("error", f"{tmp_path / 'deep'} is no folder")


def test_an_empty_database_gets_no_table(database_url: str, stack: ExitStack) -> None:
    """In a database without a ledger nothing is made, on either kind; a current one is told as current."""
    kind = database_url.split(":", maxsplit=1)[0].split("+", maxsplit=1)[0]
    assert checked(Ledger(database_url, stack)) == [
        ("ok", f"{kind} answers"),
        ("ok", f"{SCHEMA_VERSION} will be made by the first run"),
    ]
    assert Ledger(database_url, stack).version is None
    open_ledger(database_url).dispose()
    assert checked(Ledger(database_url, stack))[1] == ("ok", f"{SCHEMA_VERSION} is current")
    assert Ledger(database_url, stack).organization_of("lago") is None


def test_an_older_ledger_is_told_and_not_upgraded(tmp_path: Path, stack: ExitStack) -> None:
    """A ledger of an earlier version is well: the next run upgrades it."""
    path = tmp_path / "a ledger#1%.db"
    open_ledger(f"sqlite:///{path}").dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update lago_pipeline_version set version_num = '0001'")
    assert checked(Ledger(f"sqlite:///{path}", stack))[1] == (
        "ok",
        f"0001 will be upgraded to {SCHEMA_VERSION} by the next run",
    )
    assert Ledger(f"sqlite:///{path}", stack).version == "0001"


def test_a_folder_in_a_file_cannot_be_made(tmp_path: Path) -> None:
    """The nearest folder that is there decides."""
    (tmp_path / "file").touch()
    assert unwritable(tmp_path / "new" / "folder") is None
    assert unwritable(tmp_path / "file" / "folder") == f"{tmp_path / 'file'} is no folder"


@pytest.fixture
def lago() -> Iterator[RunningSandbox]:
    """A Lago without a catalogue."""
    with running() as server:
        yield server


@pytest.fixture
def client(lago: RunningSandbox) -> Iterator[LagoClient]:
    """A client of it."""
    with LagoClient(lago.api_url, lago.api_key) as made:
        yield made


def post(client: LagoClient, path: str, body: bytes) -> None:
    """Create one object of the catalogue."""
    assert client.ask("POST", path, body).status == 200


def test_writing_is_tried_without_an_event(client: LagoClient, lago: RunningSandbox) -> None:
    """An empty batch is refused for its emptiness where writing is allowed, for the key where it is not."""
    reply = ask(client, "/events/batch", method="POST", data=NO_EVENTS)
    assert (reply.status, reply.part("error_details")) == (422, {"events": ["no_events"]})
    lago.set_faults([{"kind": "status", "status": 403}])
    reply = ask(client, "/events/batch", method="POST", data=NO_EVENTS)
    assert (reply.status, reply.code) == (403, "write_action_not_allowed_for_event")
    assert not lago.events()


def test_ids_and_codes_are_encoded_in_paths(client: LagoClient) -> None:
    """A slash, a blank and a percent sign in an id or code reach Lago as they are."""
    name = b"a/b %41?"
    post(client, "/customers", b'{"customer":{"external_id":"c","currency":"EUR"}}')
    post(client, "/billable_metrics", b'{"billable_metric":{"name":"n","code":"' + name
         + b'","aggregation_type":"count_agg"}}')  # fmt: skip
    post(client, "/plans", b'{"plan":{"name":"p","code":"p","interval":"monthly","amount_cents":0,'
         b'"amount_currency":"EUR"}}')  # fmt: skip
    post(client, "/subscriptions", b'{"subscription":{"external_customer_id":"c","plan_code":"p",'
         b'"subscription_at":"2026-01-01T00:00:00Z","external_id":"' + name + b'"}}')  # fmt: skip
    assert (billable_metric(client, name.decode()) or {})["code"] == name.decode()
    assert billable_metric(client, "a") is None
    (span,) = subscription_spans(client, name.decode())
    assert span == SubscriptionSpan("active", 1_767_225_600_000, None)
    assert not list(subscription_spans(client, "a"))


def test_an_answer_that_says_nothing_is_an_error(client: LagoClient, lago: RunningSandbox) -> None:
    """A 503 is to be tried again; a 403 is never taken for `unknown`."""
    lago.set_faults([{"kind": "html", "status": 503, "path": "/billable_metrics"}])
    with pytest.raises(RetriableError, match="answered 503"):
        billable_metric(client, "a")
    lago.set_faults([{"kind": "status", "status": 403, "path": "/billable_metrics"}])
    with pytest.raises(ConfigError, match="lacks a permission"):
        billable_metric(client, "a")


@pytest.mark.parametrize(
    ("started", "ended", "covers"),
    [(1, None, True), (2, 2, True), (3, None, False), (1, 1, False), (None, None, False)],
)
def test_a_subscription_covers_from_its_start_to_its_end(
    started: int | None, ended: int | None, *, covers: bool
) -> None:
    """Both ends are its own; one that has not begun covers nothing."""
    assert SubscriptionSpan("active", started, ended).covers(2) is covers


def test_the_core_checks_import_no_dagster() -> None:
    """The checks themselves run without Dagster."""
    program = "import sys, lago_pipeline.check.sync; print('dagster' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"
