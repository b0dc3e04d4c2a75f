"""Whole runs of a partition: what is sent, what is settled, and what a person is told."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from lago_pipeline.deliver.send import INGESTION_SECONDS
from lago_pipeline.deliver.settle import Settler
from lago_pipeline.errors import ConfigError, FatalError, PartitionLocked, RetriableError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.ledger.registry import find
from lago_pipeline.ledger.writer import LedgerWriter
from lago_pipeline.report import Counts, DeliveryReport
from lago_pipeline.sample import sample_rows, send_samples
from lago_pipeline.sandbox.server import running
from lago_pipeline.spool.events import events_opened
from lago_pipeline.sync import Delivery
from lago_pipeline_tests.deliver.world import DAY, NEXT_DAY, NOON, World, accepted, event, numbered, row, rows

BATCH = "/events/batch"
POST, GET, INDEX = "POST /events/batch", "GET /events/{id}", "GET /events"
FULL_LEDGER = """create trigger full before insert on sent
    begin select raise(abort, 'database or disk is full'); end"""


def lawful(report: DeliveryReport) -> Counts:
    """The counts of a run that broke no law."""
    assert report.broken_laws == ()
    return report.counts


def state(world: World) -> tuple[str, str]:
    """The partition's state and reasons."""
    ((name, reasons),) = world.query("select state, reasons from lago_partitions")
    return str(name), str(reasons)


def digest(world: World) -> str | None:
    """What would let the next run send nothing without looking."""
    ((found,),) = world.query("select digest from partitions")
    return None if found is None else str(found)


def test_a_first_run_delivers_every_row_once(world: World) -> None:
    """Lago, the ledger and the report say the same."""
    report = world.deliver(rows(range(35)))
    assert lawful(report) == Counts(extracted=35, accepted=35, planned=35)
    assert report.is_settled
    assert world.held() == [f"k{number:05d}" for number in range(35)]
    assert world.lines() == [(f"k{number:05d}", "accepted") for number in range(35)]
    assert world.query("select distinct attempts from lago_events") == [(1,)]
    assert world.requests(POST) == {"200": 4}


def test_a_second_run_sends_nothing(world: World) -> None:
    """The digest alone answers: no event is posted, none is read back."""
    world.deliver(rows(range(35)))
    world.lago.sandbox.admin.reset()
    report = world.deliver()
    assert lawful(report) == Counts(extracted=35, unchanged=35)
    assert (report.is_settled, report.wire.requests, report.lag_seconds) == (True, 0, 0.0)
    assert world.lago.stats()["requests"] == {"GET /organizations": {"200": 1}}


def test_late_rows_are_sent_and_no_others(world: World) -> None:
    """Wherever their keys sort."""
    world.deliver(rows(range(0, 30, 2)))
    world.lago.sandbox.admin.reset()
    report = world.deliver(rows(range(30)))
    assert lawful(report) == Counts(extracted=30, unchanged=15, accepted=15, planned=15)
    assert world.held() == [f"k{number:05d}" for number in range(1, 30, 2)]


def test_changed_and_removed_rows_are_counted_for_as_long_as_they_are(world: World) -> None:
    """Nothing is sent for them, no digest hides them, and going back ends it."""
    world.deliver(rows(range(20)))
    for _ in range(2):
        report = world.deliver([*rows(range(2, 19)), row("k00019", 999)])
        assert lawful(report) == Counts(extracted=18, unchanged=17, changed=1, removed=2)
        assert (report.is_settled, digest(world)) == (True, None)
    assert world.requests(POST) == {"200": 2}
    assert lawful(world.deliver(rows(range(20)))) == Counts(extracted=20, unchanged=20)
    assert digest(world) is not None


def test_an_empty_partition_is_settled_and_empties_are_removed(world: World) -> None:
    """No rows are no problem; all rows gone are all removed."""
    assert lawful(world.deliver([])) == Counts()
    world.deliver(rows(range(5)))
    assert lawful(world.deliver([])) == Counts(removed=5)


def test_exact_duplicates_collapse_and_different_ones_are_refused(world: World) -> None:
    """Nobody can say which of two rows with one key is to be billed."""
    report = world.deliver([row("a", 1), row("a", 1), row("b", 1), row("b", 2), row("c", 1)])
    assert lawful(report) == Counts(extracted=4, accepted=2, quarantined=2, planned=4, duplicates=1)
    assert state(world) == ("unsettled", "duplicate_key")
    assert lawful(world.deliver([row("a", 1), row("b", 2), row("c", 1)])).accepted == 1
    assert world.lines() == [("a", "accepted"), ("b", "accepted"), ("c", "accepted")]


def test_a_row_that_is_corrected_is_billed(world: World) -> None:
    """Red first, with the reason, an example and a remedy; green afterwards."""
    report = world.deliver([row("a"), row("b", sub=""), row("c", sub=None)])
    assert lawful(report) == Counts(extracted=3, accepted=1, quarantined=2, planned=3)
    (refusal,) = report.refusals
    assert (refusal.reason, refusal.count) == ("missing_external_subscription_id", 2)
    assert refusal.example == "b"
    assert "subscription" in refusal.remedy
    report = world.deliver([row("a"), row("b"), row("c")])
    assert lawful(report) == Counts(extracted=3, unchanged=1, accepted=2, planned=2)
    assert (report.refusals, state(world)) == ((), ("closed", ""))


def test_refused_rows_have_their_own_words_in_the_ledger(world: World) -> None:
    """A quarantined event's reason is its problem, also where its commit has a row held for another."""
    world.deliver([row("a")])
    late = "2026-01-02 11:00:00"
    bad = [row("b", sub="", ts=late), row("c", code="", ts=late), row("e", 1, ts=late), row("e", 2, ts=late)]
    world.source([row("a", ts=late), *bad, row("z", ts=late)])
    pipeline = world.prepare(NEXT_DAY)
    pipeline.deliver(NEXT_DAY, world.ledger, world.client)
    with events_opened(pipeline.spool.events(world.sync.name, NEXT_DAY.key)) as file:
        problems = [(each.row_key, each.problem) for group in file.groups() for each in group if each.problem]
    assert [(key, words.partition(":")[0]) for key, words in problems] == [
        ("b", "missing_external_subscription_id"),
        ("c", "missing_code"),
        ("e", "duplicate_key"),
        ("e", "duplicate_key"),
    ]
    lines = "select row_key, reason, status from lago_events where partition = '2026-01-02' order by row_key"
    assert world.query(lines) == [
        ("a", "billed_in_another_partition: accepted in the partition that starts at 1767225600", "held"),
        *[(key, words, "quarantined") for key, words in problems],
        ("z", None, "accepted"),
    ]


def test_a_refused_row_that_goes_leaves_nothing_to_bill(world: World) -> None:
    """Its line is forgotten, so that the partition can settle."""
    world.deliver([row("a"), row("b", sub="")])
    assert lawful(world.deliver([row("a")])) == Counts(extracted=1, unchanged=1)
    assert world.lines() == [("a", "accepted")]


def test_a_row_that_moves_to_another_day_is_held_there(world: World) -> None:
    """Run after run: it is billed already, under the same id, and a person must decide."""
    world.deliver([row("a", ts=NOON), row("b", ts="2026-01-02 10:00:00")])
    world.deliver(partition=NEXT_DAY)
    moved = [row("a", ts="2026-01-02 11:00:00"), row("b", ts="2026-01-02 10:00:00")]
    for _ in range(3):
        report = world.deliver(moved, NEXT_DAY)
        assert lawful(report) == Counts(extracted=2, unchanged=1, held=1, planned=1)
        assert [refusal.reason for refusal in report.refusals] == ["billed_in_another_partition"]
    assert lawful(world.deliver(partition=DAY)) == Counts(removed=1)
    assert world.requests(POST) == {"200": 2}


def test_a_moved_row_is_not_billed_twice_by_clickhouse(clickhouse: World) -> None:
    """There the id alone protects nobody: another timestamp is another event."""
    clickhouse.deliver([row("a", ts=NOON)])
    for _ in range(3):
        clickhouse.deliver([row("a", ts="2026-01-02 11:00:00")], NEXT_DAY)
    assert clickhouse.held() == ["a"]


def test_one_id_for_two_rows_is_a_conflict(world: World) -> None:
    """The template's own transaction id is not unique: the second row is not billed, and red."""
    world.sync = replace(world.sync, event={**dict(world.sync.event), "transaction_id": "t-{{ row.sub }}"})  # type: ignore[arg-type]
    report = world.deliver([row("a", 1), row("b", 2)])
    assert lawful(report) == Counts(extracted=2, accepted=1, conflict=1, planned=2)
    assert [refusal.reason for refusal in report.refusals] == ["different_event_under_this_id"]


def test_lago_down_for_ever_ends_early_and_says_so(world: World) -> None:
    """A few batches burn their tries, the others are left; the next run delivers everything."""
    world.lago.set_faults([{"kind": "status", "status": 503}])
    report = world.deliver(rows(range(500)))
    counts = lawful(report)
    assert counts.pending == counts.planned == 500
    assert report.stopped == "Lago gave no answer to 3 batches in a row: HTTP 503"
    assert sum(world.requests(POST).values()) <= 6 * 3
    assert (report.is_settled, state(world)) == (False, ("unsettled", "pending"))
    world.lago.clear_faults()
    assert lawful(world.deliver()).accepted == 500


def test_a_short_run_says_too_why_its_events_are_pending(world: World) -> None:
    """One batch is too few to give up on Lago; the reason must not be lost for that."""
    world.lago.set_faults([{"kind": "html", "status": 504}])
    assert world.deliver(rows(range(3))).stopped == "HTTP 504"


def test_refused_rows_that_are_pending_now_break_no_law(world: World) -> None:
    """Their old lines stay in the ledger while Lago is down."""
    world.deliver([row("a"), row("b", sub="")])
    world.lago.set_faults([{"kind": "status", "status": 503}])
    report = world.deliver([row("a"), row("b")])
    assert lawful(report) == Counts(extracted=2, unchanged=1, pending=1, planned=1)
    assert world.lines() == [("a", "accepted"), ("b", "quarantined")]
    world.lago.clear_faults()
    assert lawful(world.deliver()).accepted == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_that_stops_working_stops_the_run(world: World, status: int) -> None:
    """One line; what was accepted before is settled, the rest is pending, and nothing is lost."""
    world.sync = replace(world.sync, delivery=Delivery(batch_size=10, concurrency=1))
    world.lago.set_faults([{"kind": "status", "status": status, "every": 4}])
    with pytest.raises(ConfigError, match=str(status)) as caught:
        world.deliver(rows(range(200)))
    assert "\n" not in str(caught.value)
    assert len(world.lines()) == len(world.held()) == 30
    ((accepted, pending, planned),) = world.query("select accepted, pending, planned from lago_partitions")
    assert (accepted, pending, planned) == (30, 170, 200)
    assert state(world) == ("unsettled", "pending")
    world.lago.clear_faults()
    assert lawful(world.deliver()) == Counts(extracted=200, unchanged=30, accepted=170, planned=170)


def test_a_lago_that_is_down_at_the_start_is_one_line(world: World) -> None:
    """Nothing is recorded; the run may be tried again."""
    world.source(rows(range(3)))
    pipeline = world.prepare()
    with (
        LagoClient("http://127.0.0.1:9/api/v1", "key") as nobody,
        pytest.raises(RetriableError, match=r"^Lago at http://127.0.0.1:9/api/v1 cannot be reached: \S"),
    ):
        pipeline.deliver(DAY, world.ledger, nobody)
    assert world.query("select * from partitions") == []


def test_another_organization_is_refused(world: World) -> None:
    """Its key would bill all usage again, to somebody else."""
    world.deliver(rows(range(3)))
    with running() as other, LagoClient(other.api_url, other.api_key) as client:
        with pytest.raises(ConfigError, match=r"belongs to .*LEDGER_URL"):
            world.prepare().deliver(DAY, world.ledger, client)
        assert other.events() == []


def test_events_of_another_template_are_refused(world: World) -> None:
    """Rendered yesterday, configured anew today: render again first."""
    world.source(rows(range(3)))
    world.prepare()
    world.sync = replace(world.sync, event={**dict(world.sync.event), "properties": {}})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="another template"):
        world.pipeline().deliver(DAY, world.ledger, world.client)
    assert world.held() == []


def test_an_older_file_is_refused(world: World, tmp_path: Path) -> None:
    """A machine that comes back with yesterday's spool must not undo what was settled since."""
    world.source(rows(range(3)))
    world.now_ms = lambda: DAY.end_ms
    world.prepare()
    file = tmp_path / "spool" / "usage" / "2026-01-01.events.parquet"
    yesterdays = file.read_bytes()
    world.now_ms = lambda: DAY.end_ms + 1
    world.deliver(rows(range(5)))
    file.write_bytes(yesterdays)
    with pytest.raises(FatalError, match="older than what was settled"):
        world.pipeline().deliver(DAY, world.ledger, world.client)
    assert lawful(world.deliver()).unchanged == 5


@pytest.mark.parametrize(
    ("began", "expected"), [(0, "open"), (3_599_999, "open"), (3_600_000, "closed"), (10**9, "closed")]
)
def test_a_partition_closes_only_after_its_last_rows_had_time(
    world: World, began: int, expected: str
) -> None:
    """What counts is when the extraction began, not when the delivery ended."""
    world.now_ms = lambda: DAY.end_ms + began
    pipeline = world.pipeline()
    world.source(rows(range(3)))
    pipeline.extract(DAY, world.warehouse)
    pipeline.render(DAY)
    world.now_ms = lambda: DAY.end_ms + 10**10
    world.pipeline().deliver(DAY, world.ledger, world.client)
    assert state(world) == (expected, "")


def test_two_runs_at_once_deliver_once(world: World) -> None:
    """One delivers, the other waits for it and finds nothing to do."""
    world.source(rows(range(300)))
    world.lago.set_faults([{"kind": "latency", "seconds": 0.005}])
    pipelines = [world.prepare(), world.prepare()]
    reports: list[DeliveryReport] = []
    threads = [
        threading.Thread(
            target=lambda made=made: reports.append(made.deliver(DAY, world.ledger, world.client))
        )
        for made in pipelines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted((lawful(item).accepted, item.counts.unchanged) for item in reports) == [(0, 300), (300, 0)]
    assert world.requests(POST) == {"200": 30}


def test_a_run_that_waits_in_vain_names_the_holder(world: World) -> None:
    """Its time-out is the caller's to choose."""
    world.source(rows(range(50)))
    holder, waiter = world.prepare(), world.prepare()
    inside, leave = threading.Event(), threading.Event()

    def hold(_: float) -> None:
        inside.set()
        leave.wait(10)

    world.lago.set_faults([{"kind": "status", "status": 503, "times": 1}])
    thread = threading.Thread(target=lambda: holder.deliver(DAY, world.ledger, world.client, sleep=hold))
    thread.start()
    try:
        assert inside.wait(10)
        with pytest.raises(PartitionLocked, match=holder.run_id):
            waiter.deliver(DAY, world.ledger, world.client, lock_wait_seconds=0)
    finally:
        leave.set()
        thread.join(timeout=10)
    assert world.lines("count(*)") == [(50,)]


def test_a_stop_leaves_the_rest_pending(world: World) -> None:
    """Without an error: the report says what is billed and what is not."""
    stop = threading.Event()
    world.sync = replace(world.sync, delivery=Delivery(batch_size=10, concurrency=1))
    world.lago.set_faults([{"kind": "status", "status": 503, "every": 4}])
    report = world.deliver(rows(range(100)), stop=stop, sleep=lambda _: stop.set())
    counts = lawful(report)
    assert (counts.accepted, counts.pending) == (30, 70)
    assert (report.is_settled, state(world)) == (False, ("unsettled", "pending"))
    assert len(world.held()) == 30


def test_a_ledger_that_is_full_is_one_line_and_loses_nothing(world: World) -> None:
    """Lago holds events that the ledger could not record: the next run verifies them by reading."""
    world.source(rows(range(45)))
    pipeline = world.prepare()
    with world.ledger.begin() as connection:
        connection.exec_driver_sql(FULL_LEDGER)
    with pytest.raises(RetriableError, match=r"^the ledger could not be used: database or disk is full$"):
        pipeline.deliver(DAY, world.ledger, world.client)
    assert world.lines() == []
    assert world.held()
    assert state(world) == ("unsettled", "pending")
    assert digest(world) is None
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger full")
    report = world.deliver()
    assert lawful(report) == Counts(extracted=45, accepted=45, planned=45)
    assert world.held() == [f"k{number:05d}" for number in range(45)]


def test_clickhouse_is_asked_what_a_crashed_run_had_sent(clickhouse: World) -> None:
    """The marks say where to look: nothing is sent twice, and then they are gone."""
    with clickhouse.ledger.begin() as connection:
        connection.exec_driver_sql(FULL_LEDGER)
    with pytest.raises(RetriableError):
        clickhouse.deliver(rows(range(45)))
    sent = len(clickhouse.held())
    assert sent >= 10
    with clickhouse.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger full")
    report = clickhouse.deliver()
    assert lawful(report) == Counts(extracted=45, accepted=45, planned=45)
    assert clickhouse.held() == [f"k{number:05d}" for number in range(45)]
    assert (clickhouse.requests(INDEX), clickhouse.requests(GET)) == ({"200": 1}, {})
    assert clickhouse.query("select * from sending") == []


def test_clickhouse_may_hold_another_event_than_one_whose_answer_was_lost(clickhouse: World) -> None:
    """Then nothing of its batch is left to be sent, and the conflict is settled as any other."""
    clickhouse.deliver([row("a", 1)])
    with clickhouse.ledger.begin() as connection:
        connection.exec_driver_sql("delete from sent")
        connection.exec_driver_sql("update partitions set digest = null")
    clickhouse.lago.set_faults([{"kind": "drop_before", "times": 1, "path": BATCH}])
    assert lawful(clickhouse.deliver([row("a", 2)])) == Counts(extracted=1, conflict=1, planned=1)
    assert clickhouse.lines() == [("a", "conflict")]


def test_clickhouse_is_never_sent_an_event_beside_another_of_its_id(clickhouse: World) -> None:
    """It would take both; a conflict is read back until Lago holds the other event no more."""
    clickhouse.deliver([row("a", 1)])
    with clickhouse.ledger.begin() as connection:
        connection.exec_driver_sql("update sent set status = 'conflict', fingerprint = zeroblob(16)")
        connection.exec_driver_sql("update partitions set digest = null, state = 'unsettled'")
    for _ in range(2):
        assert lawful(clickhouse.deliver([row("a", 2)])) == Counts(extracted=1, conflict=1, planned=1)
    assert (clickhouse.held(), clickhouse.requests(POST)) == (["a"], {"200": 1})
    assert lawful(clickhouse.deliver([row("a", 1)])) == Counts(extracted=1, accepted=1, planned=1)
    assert (clickhouse.held(), clickhouse.requests(POST)) == (["a"], {"200": 1})


def test_a_sample_is_not_sent_to_clickhouse_beside_another_of_its_id(clickhouse: World) -> None:
    """As a run, `preview --send` reads a conflict back."""
    clickhouse.deliver([row("a", 1)])
    with clickhouse.ledger.begin() as connection:
        connection.exec_driver_sql("update sent set status = 'conflict', fingerprint = zeroblob(16)")
    clickhouse.source([row("a", 2)])
    pipeline = clickhouse.pipeline()
    samples = sample_rows(pipeline, DAY, clickhouse.warehouse, 1)
    (words,) = send_samples(pipeline, DAY, samples, clickhouse.ledger, clickhouse.client)
    assert words.startswith("different_event_under_this_id: ")
    assert (clickhouse.held(), clickhouse.requests(POST)) == (["a"], {"200": 1})


def test_clickhouse_marks_stay_while_an_outcome_is_unknown(clickhouse: World) -> None:
    """Also when the read-back itself fails: rather pending than twice."""
    clickhouse.lago.set_faults(
        [
            {"kind": "drop_after", "path": BATCH},
            {"kind": "status", "status": 503, "path": "/events", "method": "GET"},
        ]
    )
    assert lawful(clickhouse.deliver(rows(range(8)))).pending == 8
    clickhouse.lago.set_faults([{"kind": "status", "status": 503, "path": "/events", "method": "GET"}])
    report = clickhouse.deliver()
    assert (lawful(report).pending, clickhouse.held()) == (8, [f"k{number:05d}" for number in range(8)])
    assert "503" in (report.stopped or "")
    clickhouse.lago.clear_faults()
    assert lawful(clickhouse.deliver()).accepted == 8
    assert clickhouse.held() == [f"k{number:05d}" for number in range(8)]
    assert clickhouse.requests(POST) == {"dropped": 1}


def test_clickhouse_is_asked_only_once_its_pipeline_had_time(clickhouse: World) -> None:
    """After a lost answer, and at the start of a run after one that died: absence proves nothing before."""

    def sleep(seconds: float) -> None:
        world.time.sleep(seconds)
        world.lago.set_lag(0 if seconds == INGESTION_SECONDS else 3600)

    world = clickhouse
    world.lago.set_lag(3600)
    world.lago.set_faults([{"kind": "drop_after", "path": BATCH, "times": 1}])
    with world.ledger.begin() as connection:
        connection.exec_driver_sql(FULL_LEDGER)
    with pytest.raises(RetriableError):
        world.deliver(rows(range(45)), sleep=sleep)
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger full")
    world.lago.set_lag(3600)
    world.time.sleeps.clear()
    assert lawful(world.deliver(sleep=sleep)).accepted == 45
    assert world.held() == [f"k{number:05d}" for number in range(45)]
    assert INGESTION_SECONDS in world.time.sleeps


def test_many_groups_are_one_partition(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that go between, before and after the groups of a file are found missing."""
    monkeypatch.setattr("lago_pipeline.spool.events.GROUP_EVENTS", 10)
    world.deliver(rows(range(100)))
    kept = [number for number in range(5, 95) if not 30 <= number < 45]
    assert lawful(world.deliver(rows(kept))) == Counts(extracted=75, unchanged=75, removed=25)
    late = [*kept, 40, 200, 201]
    assert lawful(world.deliver(rows(late))) == Counts(
        extracted=78, unchanged=76, accepted=2, removed=24, planned=2
    )


def test_an_interruption_between_groups_counts_the_rest_as_pending(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups that were not even planned are pending too; no law is called broken for that."""
    monkeypatch.setattr("lago_pipeline.spool.events.GROUP_EVENTS", 10)
    with world.ledger.begin() as connection:
        connection.exec_driver_sql(FULL_LEDGER.replace("on sent", "on sent when new.row_key >= 'k00040'"))
    with pytest.raises(RetriableError):
        world.deliver(rows(range(100)))
    ((extracted, final, planned),) = world.query(
        "select extracted, unchanged + accepted + pending, planned from lago_partitions"
    )
    assert (extracted, final, planned) == (100, 100, 100)
    assert state(world) == ("unsettled", "pending")
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("drop trigger full")
    assert lawful(world.deliver()).unbilled == 0
    assert len(world.held()) == 100


def test_the_lag_is_that_of_usage_that_waited(world: World) -> None:
    """From the oldest event newly accepted or pending; refused ones from long ago do not count."""
    world.now_ms = lambda: DAY.end_ms
    early, noon = row("a", ts="2026-01-01 01:00:00", sub=""), row("b", ts=NOON)
    assert world.deliver([early, noon]).lag_seconds == 12 * 3600
    assert world.deliver([early, noon]).lag_seconds == 0.0
    world.lago.set_faults([{"kind": "status", "status": 503}])
    assert world.deliver([early, noon, row("c", ts="2026-01-01 18:00:00")]).lag_seconds == 6 * 3600


def test_a_dry_run_counts_what_a_delivery_then_does(world: World) -> None:
    """It sends and records nothing."""
    world.deliver(rows(range(20)))
    world.source([*rows(range(5, 30)), row("bad", sub="")])
    pipeline = world.prepare()
    posts = world.requests(POST)
    counts, reasons = pipeline.plan(DAY, world.ledger, find(world.ledger, world.sync))
    assert counts == Counts(extracted=26, unchanged=15, removed=5, quarantined=1, pending=10, planned=11)
    assert (reasons, world.requests(POST)) == ("missing_external_subscription_id", posts)
    delivered = lawful(pipeline.deliver(DAY, world.ledger, world.client))
    assert delivered == replace(counts, pending=0, accepted=10)


def test_a_run_is_audited_with_its_requests(world: World) -> None:
    """Every run has a line of its own that is never changed again."""
    world.lago.set_faults([{"kind": "status", "status": 503, "times": 1}])
    world.deliver(rows(range(20)))
    world.deliver()
    assert world.query("select run_id, accepted, unchanged, requests, retries from runs order by run") == [
        ("run0", 20, 0, 3, 1),
        ("run1", 0, 20, 0, 0),
    ]


def test_a_postgresql_ledger_does_the_same(world: World, postgres_database: str) -> None:
    """New, late, changed, removed, moved, refused and corrected rows, and a full stop between."""
    world.ledger.dispose()
    world.ledger = open_ledger(postgres_database)
    world.lago.set_faults([{"kind": "drop_after", "times": 2}])
    assert lawful(world.deliver(rows(range(40)))).accepted == 40
    assert lawful(world.deliver()).unchanged == 40
    report = world.deliver([*rows(range(5, 39)), row("k00039", 0), row("n", sub=""), row("m")])
    assert lawful(report) == Counts(
        extracted=37, unchanged=34, accepted=1, changed=1, removed=5, quarantined=1, planned=2
    )
    moved = [row("k00001", 1, ts="2026-01-02 11:00:00")]
    for _ in range(2):
        assert lawful(world.deliver(moved, NEXT_DAY)) == Counts(extracted=1, held=1, planned=1)
    assert len(world.held()) == 41
    world.ledger.dispose()


def test_a_real_clock_and_sleep_work_too(world: World) -> None:
    """The defaults, once: a retry after a real backoff, cut short by nobody."""
    world.lago.set_faults([{"kind": "rate_limit", "retry_after": 0.05, "times": 1}])
    world.source(rows(range(5)))
    pipeline = replace(world.prepare(), clock=time.monotonic)
    report = pipeline.deliver(DAY, world.ledger, world.client)
    assert lawful(report).accepted == 5
    assert report.wire.throttled_seconds == pytest.approx(0.05, abs=0.01)
    assert isinstance(world.ledger, sa.Engine)


def test_outcomes_wait_no_longer_than_a_second_for_their_commit(world: World) -> None:
    """However slow Lago is: a run that dies has to verify a second's events, not an hour's."""
    with LedgerWriter(world.ledger) as writer:
        settler = Settler(writer, 1, DAY, "usage", 1, world.time.clock, lambda: 0)

        def settled(number: int) -> int:
            settler.add([accepted(event(number))])
            writer.wait()
            return int(world.query("select count(*) from sent")[0][0])

        assert settled(1) == 1
        world.time.now += 0.9
        assert settled(2) == 1
        world.time.now += 0.2
        assert settled(3) == 3


def test_outcomes_are_committed_by_the_ten_thousand(world: World) -> None:
    """Events count, not batches; and after a commit the next ten thousand wait again."""
    events = numbered(range(25_000))
    with LedgerWriter(world.ledger) as writer:
        settler, found = Settler(writer, 1, DAY, "usage", 1, world.time.clock, lambda: 0), []
        settler.flush()
        for first in range(0, len(events), 2_500):
            settler.add([accepted(*events[first : first + 2_500])])
            writer.wait()
            found.append(int(world.query("select count(*) from sent")[0][0]) // 1_000)
    assert found == [0, 0, 0, 10, 10, 10, 10, 20, 20, 20]


def test_only_a_settled_run_makes_older_files_too_old(world: World) -> None:
    """What an unsettled run left unbilled may be delivered from any file."""
    world.now_ms = lambda: DAY.end_ms
    assert not world.deliver([row("a", sub="")]).is_settled
    world.now_ms = lambda: DAY.end_ms - 1
    assert world.deliver([row("a")]).is_settled


def test_the_metrics_are_noted_where_lago_refused_an_event(world: World) -> None:
    """Once they change, the event is tried again at once."""
    rule = {"kind": "refuse", "path": "/events/batch", "contains": "k00001"}
    world.lago.set_faults([rule])
    assert world.deliver([row("k00001")]).counts.rejected == 1
    noted = "select count(*) from partitions where catalog_hash is not null"
    assert world.query(noted) == [(1,)]
    world.lago.clear_faults()
    assert world.deliver([row("k00001")]).is_settled
    assert world.query(noted) == [(0,)]
