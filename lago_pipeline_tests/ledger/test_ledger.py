"""The ledger on SQLite and PostgreSQL: names, states, lines, views, and the lock."""

import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError, PartitionLocked
from lago_pipeline.event import Event, Events
from lago_pipeline.ledger import events, partitions
from lago_pipeline.ledger.database import open_ledger, reading, writing
from lago_pipeline.ledger.lock import partition_lock
from lago_pipeline.ledger.outcomes import Outcome, settled_lines, write_lines
from lago_pipeline.ledger.partitions import Settlement, State
from lago_pipeline.ledger.registry import activate, find, register
from lago_pipeline.ledger.runs import start_run
from lago_pipeline.organization import Organization
from lago_pipeline.partition import Partition
from lago_pipeline.report import Counts, Status
from lago_pipeline.sync import Source, Sync

DAY = Partition("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
NEXT = Partition("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))
LAGO = Organization("0c0ffee0", "Acme", "postgres")
SYNC = Sync("calls", Source(("id",), "at", table="calls"), {}, "calls", "lago")
HOUR_MS = 3_600_000
ODD_KEYS = [
    "a",
    "a b",
    "a:b",
    "Z",
    "ä",
    "é",
    "😀",
    "中",
    "a!",
    "a%3A",
    "%00",
    "'",
    '"',
    "\\",
    "",
    "~",
    "\uffff",
]


def event(row_key: str, *, code: str = "calls", fingerprint: bytes = b"f" * 16) -> Event:
    """An event of a key."""
    return Event(
        row_key,
        0,
        f"calls:{code}:{row_key}",
        code,
        "s",
        DAY.start_ms + 1500,
        '{"n":"1"}',
        b"{}",
        fingerprint,
        None,
    )


def outcome(
    event: Event, status: Status = Status.ACCEPTED, reason: str | None = None, http_status: int | None = None
) -> Outcome:
    """What became of one event."""
    return Outcome(Events.of([event]), status, reason, http_status)


def settle(
    connection: sa.Connection,
    sync_id: int,
    outcomes: Iterable[Outcome],
    *,
    run: int,
    now_ms: int,
    day: Partition = DAY,
) -> None:
    """Record outcomes in one commit, as a delivery does."""
    write_lines(connection, settled_lines(outcomes, sync_id, day, prefix="calls", run=run, now_ms=now_ms))


def settled(
    engine: sa.Engine, outcomes: Iterable[Outcome], *, day: Partition = DAY, now_ms: int = 1000
) -> int:
    """Record outcomes of a run; returns the sync's number."""
    sync_id = register(engine, SYNC, "http://lago", LAGO).sync_id
    with writing(engine) as connection:
        partitions.open_partition(connection, sync_id, day, now_ms)
        run = start_run(connection, sync_id, day, "run-1", now_ms)
        settle(connection, sync_id, outcomes, run=run, now_ms=now_ms, day=day)
    return sync_id


def view(engine: sa.Engine, name: str) -> list[sa.RowMapping]:
    """The rows of a view."""
    with reading(engine) as connection:
        return list(connection.execute(sa.text(f"select * from {name}")).mappings())


def test_opening_twice_changes_nothing(ledger_engine: sa.Engine) -> None:
    """A ledger that exists is opened as it is."""
    settled(ledger_engine, [outcome(event("a"))])
    again = open_ledger(ledger_engine.url.render_as_string(hide_password=False))
    assert len(view(again, "lago_events")) == 1
    again.dispose()


def test_processes_that_open_a_new_ledger_at_once_agree(database_url: str) -> None:
    """Four first starts at the same moment make one schema."""
    program = (
        "import sys\n"
        "from lago_pipeline.ledger.database import open_ledger\n"
        "open_ledger(sys.argv[1]).dispose()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, database_url]) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0, 0]


def test_a_newer_ledger_is_refused(ledger_engine: sa.Engine) -> None:
    """An older package never writes into a newer schema."""
    with writing(ledger_engine) as connection:
        connection.execute(sa.text("update lago_pipeline_version set version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer than this lago-pipeline: upgrade the package"):
        open_ledger(ledger_engine.url.render_as_string(hide_password=False))


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "sqlite://", "nonsense"])
def test_a_ledger_elsewhere_is_refused_without_its_password(url: str) -> None:
    """Only a SQLite file or PostgreSQL can hold the ledger."""
    with pytest.raises(ConfigError) as error:
        open_ledger(url)
    assert "secret" not in str(error.value)


def test_another_organization_stops_the_run(ledger_engine: sa.Engine) -> None:
    """A key of another organization would bill everything again, to somebody else."""
    first = register(ledger_engine, SYNC, "http://lago", LAGO)
    assert register(ledger_engine, SYNC, "http://lago:1", LAGO) == first
    with pytest.raises(ConfigError, match="this ledger belongs to 0c0ffee0"):
        register(ledger_engine, SYNC, "http://lago", Organization("other", "Other", "postgres"))


def test_another_prefix_stops_the_run(ledger_engine: sa.Engine) -> None:
    """Another prefix would give every row another id."""
    register(ledger_engine, SYNC, "http://lago", LAGO)
    changed = Sync("calls", SYNC.source, {}, "renamed", "lago")
    with pytest.raises(ConfigError, match="transaction_id_prefix was 'calls'"):
        register(ledger_engine, changed, "http://lago", LAGO)


def test_the_first_start_is_kept(ledger_engine: sa.Engine) -> None:
    """Activation is recorded once, also before Lago was ever asked."""
    assert find(ledger_engine, SYNC) is None
    assert activate(ledger_engine, SYNC, 5).activated_at_ms == 5
    assert activate(ledger_engine, SYNC, 9).activated_at_ms == 5
    assert register(ledger_engine, SYNC, "http://lago", LAGO).activated_at_ms == 5


def test_a_line_is_replaced_and_its_first_sight_kept(ledger_engine: sa.Engine) -> None:
    """An event tried again has one line: the new state, the old first sight, one more attempt."""
    settled(ledger_engine, [outcome(event("a"), Status.REJECTED, "refused_by_lago: no", 422)])
    sync_id = settled(ledger_engine, [outcome(event("a"), Status.ACCEPTED, None, 200)], now_ms=2000)
    (line,) = view(ledger_engine, "lago_events")
    assert (line["status"], line["reason"], line["http_status"], line["attempts"]) == (
        "accepted",
        None,
        200,
        2,
    )
    assert str(line["first_seen_at"])[:19].replace("T", " ") == "1970-01-01 00:00:01"
    assert str(line["updated_at"])[:19].replace("T", " ") == "1970-01-01 00:00:02"
    with reading(ledger_engine) as connection:
        assert events.count_by_status(connection, sync_id, DAY) == {"accepted": 1}


def test_more_lines_than_one_statement_takes(ledger_engine: sa.Engine) -> None:
    """Each has its own values and one line, twice over, in whole statements and in what is left of one."""
    refused = [outcome(event(f"r{number}"), Status.REJECTED, f"no {number}", 422) for number in range(3)]
    fresh = [event(f"k{number}", fingerprint=number.to_bytes(16)) for number in range(1_007)]
    for _ in range(2):
        accepted = [outcome(each, Status.ACCEPTED, None, 200) for each in fresh]
        sync_id = settled(ledger_engine, accepted + refused)
    lines = {line["row_key"]: line for line in view(ledger_engine, "lago_events")}
    assert {line["attempts"] for line in lines.values()} == {2}
    assert all(lines[each.row_key]["fingerprint"] == each.fingerprint.hex() for each in fresh)
    assert [lines[f"r{number}"]["reason"] for number in range(3)] == ["no 0", "no 1", "no 2"]
    with reading(ledger_engine) as connection:
        counts = events.count_by_status(connection, sync_id, DAY)
    assert counts == {"accepted": len(fresh), "rejected": 3}


def test_the_view_has_the_columns_that_people_rely_on(ledger_engine: sa.Engine) -> None:
    """`lago_events` answers why a customer is billed, in the words of the design."""
    odd = event("k", code="a:b")
    settled(ledger_engine, [outcome(odd), outcome(event("l"))])
    lines = {line["row_key"]: line for line in view(ledger_engine, "lago_events")}
    assert list(lines["l"]) == [
        "destination", "sync", "partition", "row_key", "revision", "transaction_id", "code",
        "external_subscription_id", "timestamp", "properties", "fingerprint", "status", "reason",
        "http_status", "attempts", "run_id", "first_seen_at", "updated_at",
    ]  # fmt: skip
    assert lines["k"]["transaction_id"] == odd.transaction_id
    assert lines["l"]["transaction_id"] == "calls:calls:l"
    assert (lines["l"]["partition"], lines["l"]["run_id"]) == ("2026-03-01", "run-1")
    assert str(lines["l"]["timestamp"]).replace("T", " ").startswith("2026-03-01 00:00:01.5")
    assert lines["l"]["fingerprint"] == (b"f" * 16).hex()


def test_keys_sort_alike_in_both_databases_and_in_python(ledger_engine: sa.Engine) -> None:
    """A range of keys holds the same keys for the ledger, the spool and Python."""
    ordered = sorted(ODD_KEYS)
    sync_id = settled(ledger_engine, [outcome(event(key)) for key in ODD_KEYS])
    for cut in range(len(ordered)):
        with reading(ledger_engine) as connection:
            low = events.read_lines(connection, sync_id, DAY, events.KeyRange(None, ordered[cut]))
            high = events.read_lines(connection, sync_id, DAY, events.KeyRange(ordered[cut], None))
        assert [line.row_key for line in low] == ordered[: cut + 1]
        assert [line.row_key for line in high] == ordered[cut + 1 :]


def test_a_row_that_moved_is_found_among_many(ledger_engine: sa.Engine) -> None:
    """Only keys accepted in another partition count as billed there."""
    outcomes = [outcome(event(f"k{number}")) for number in range(30)]
    refused = outcome(event("refused"), Status.REJECTED, "no")
    sync_id = settled(ledger_engine, [*outcomes, refused])
    keys = [f"k{number}" for number in range(25_000)] + ["refused"]
    with reading(ledger_engine) as connection:
        found = events.read_elsewhere(connection, sync_id, NEXT, keys)
        assert events.read_elsewhere(connection, sync_id, DAY, keys) == {}
    assert found == {f"k{number}": DAY.start_ms for number in range(30)}


def test_lines_that_were_never_accepted_can_be_forgotten(ledger_engine: sa.Engine) -> None:
    """Forgetting never touches what is billed."""
    outcomes = [outcome(event("a")), outcome(event("b"), Status.QUARANTINED, "x: y")]
    sync_id = settled(ledger_engine, outcomes)
    with writing(ledger_engine) as connection:
        lines = events.read_lines(connection, sync_id, DAY, events.KeyRange(None, None))
        events.forget(connection, sync_id, DAY, lines)
        assert events.count_by_status(connection, sync_id, DAY) == {"accepted": 1}


def test_marks_of_requests_under_way_outlive_their_run(ledger_engine: sa.Engine) -> None:
    """A restart learns which outcomes are unknown, until they are known."""
    sync_id = settled(ledger_engine, [])
    with writing(ledger_engine) as connection:
        events.mark_sending(connection, sync_id, DAY, 1, "a", "f", 0)
        events.mark_sending(connection, sync_id, DAY, 2, "a", "c", 0)
        assert sorted(events.read_marks(connection, sync_id, DAY)) == [("a", "c"), ("a", "f")]
        assert events.read_marks(connection, sync_id, NEXT) == []
        events.clear_marks(connection, sync_id, DAY)
        assert events.read_marks(connection, sync_id, DAY) == []


@pytest.mark.parametrize(
    ("after_end_ms", "is_settled", "state"),
    [
        (-HOUR_MS, True, State.OPEN),
        (HOUR_MS - 1, True, State.OPEN),
        (HOUR_MS, True, State.CLOSED),
        (HOUR_MS, False, State.UNSETTLED),
    ],
)
def test_a_partition_closes_exactly_at_its_delay(
    ledger_engine: sa.Engine, after_end_ms: int, is_settled: bool, state: State
) -> None:
    """Closed is what was settled by an extraction that began `closing_delay` after the end, or later."""
    assert closed_after(ledger_engine, DAY.end_ms + after_end_ms, is_settled=is_settled) is state


def test_an_unsettled_partition_waits_longer_each_time(ledger_engine: sa.Engine) -> None:
    """15 minutes, 1 hour, 6 hours, then daily, once it is over; settled again, it waits no more."""
    waits = []
    for after_end_ms in (0, *[HOUR_MS] * 5):
        closed_after(ledger_engine, DAY.end_ms + after_end_ms, is_settled=False)
        (line,) = view(ledger_engine, "lago_partitions")
        waits.append(_instant(line["next_attempt_at"]) - _instant(line["updated_at"]))
    assert waits == [timedelta(minutes=minutes) for minutes in (15, 15, 60, 360, 1440, 1440)]
    closed_after(ledger_engine, DAY.end_ms + HOUR_MS, is_settled=True)
    (line,) = view(ledger_engine, "lago_partitions")
    assert (line["next_attempt_at"], line["attempts"], line["state"]) == (None, 0, "closed")


def closed_after(engine: sa.Engine, snapshot_ms: int, *, is_settled: bool) -> State:
    """Settle DAY by an extraction that began at `snapshot_ms`."""
    sync_id = settled(engine, [])
    settlement = Settlement(
        run=1,
        snapshot_ms=snapshot_ms,
        template_hash="t",
        digest=None,
        counts=Counts(),
        reasons="",
        is_settled=is_settled,
    )
    with writing(engine) as connection:
        return partitions.settle_partition(
            connection, sync_id, DAY, settlement, closing_delay_ms=HOUR_MS, now_ms=snapshot_ms
        )


def _instant(value: object) -> datetime:
    parsed = datetime.fromisoformat(str(value))
    return parsed.astimezone(ZoneInfo("UTC"))


def test_a_second_run_waits_and_then_names_the_first(ledger_engine: sa.Engine) -> None:
    """One run a partition: the second fails with the run id of the holder; other partitions are free."""
    naps: list[float] = []
    ticks = iter(range(1000))
    with partition_lock(ledger_engine, 1, DAY, "run-a"):
        with partition_lock(ledger_engine, 1, NEXT, "run-b"):
            pass
        with (
            pytest.raises(PartitionLocked, match="run run-a"),
            partition_lock(
                ledger_engine, 1, DAY, "run-c", wait_seconds=3, clock=lambda: next(ticks), sleep=naps.append
            ),
        ):
            pytest.fail("two runs hold one partition")
    assert len(naps) >= 2
    with partition_lock(ledger_engine, 1, DAY, "run-d", wait_seconds=0):
        pass


def test_a_lock_dies_with_its_process(ledger_engine: sa.Engine) -> None:
    """A run killed with -9 leaves nothing that blocks the next."""
    program = (
        "import sys, time\n"
        "from lago_pipeline.ledger.database import open_ledger\n"
        "from lago_pipeline.ledger.lock import partition_lock\n"
        "from lago_pipeline_tests.ledger.test_ledger import DAY\n"
        "with partition_lock(open_ledger(sys.argv[1]), 1, DAY, 'killed'):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    url = ledger_engine.url.render_as_string(hide_password=False)
    with subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(PartitionLocked, match="run killed"),
            partition_lock(ledger_engine, 1, DAY, "next", wait_seconds=0),
        ):
            pytest.fail("two runs hold one partition")
        process.kill()
    with partition_lock(ledger_engine, 1, DAY, "next", wait_seconds=30):
        pass
