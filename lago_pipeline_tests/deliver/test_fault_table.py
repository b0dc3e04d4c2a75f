"""Every way in which Lago, or what lies between, can fail: nothing lost or doubled, never green too soon.

`pytest -s` prints the table: fault, store, how often it struck, events lost and doubled at the end, and
whether a run was green before all of its events were there.
"""

from dataclasses import dataclass, replace

import pytest

from lago_pipeline.errors import LagoPipelineError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import TransportOptions
from lago_pipeline.report import DeliveryReport
from lago_pipeline.sync import Delivery
from lago_pipeline_tests.deliver.world import SYNC, World, rows

ROWS = 300
ALL = [f"k{number:05d}" for number in range(ROWS)]
ONE = "k00137"
HASTY = TransportOptions(5.0, 0.25)
"""For faults that outlast a client's patience."""


@dataclass(frozen=True)
class Fault:
    """A fault of the sandbox by name; `refused` is an event that it keeps from ever being taken."""

    name: str
    rule: dict[str, object]
    refused: str | None = None
    options: TransportOptions | None = None


def now_and_then(name: str, options: TransportOptions | None = None, **rule: object) -> Fault:
    """A fault that strikes a third of the batches, the same ones each time."""
    return Fault(name, {"path": "/events/batch", "probability": 0.33, "seed": 7, **rule}, options=options)


FAULTS = [
    now_and_then("answer lost", kind="drop_after"),
    now_and_then("answer lost, first batches", kind="drop_after", probability=None, times=4),
    now_and_then("connection cut before", kind="drop_before"),
    now_and_then("500 after the commit", kind="commit_then_status", status=500),
    now_and_then("504 after the commit", kind="commit_then_status", status=504),
    now_and_then("500", kind="status", status=500),
    now_and_then("503", kind="status", status=503),
    now_and_then("408", kind="status", status=408),
    now_and_then("502 in HTML", kind="html"),
    now_and_then("200 that is not JSON", kind="text"),
    now_and_then("200 in HTML after the commit", kind="html", status=200, commit=True),
    now_and_then("answer cut in the middle", kind="cut_answer"),
    now_and_then("half an answer as if whole", kind="half_answer"),
    now_and_then("answer after our time-out", HASTY, kind="answer_late", seconds=0.6, times=3),
    now_and_then("answer that drips", HASTY, kind="drip", seconds=0.05, times=3),
    now_and_then("429 with a time", kind="rate_limit", reset_seconds=2),
    now_and_then("429 without a time", kind="rate_limit"),
    Fault("too many events", {"kind": "status", "status": 422, "path": "/events/batch", "more_than": 8,
                              "details": {"events": ["too_many_events"]}}),
    Fault("too large for a proxy", {"kind": "html", "status": 413, "path": "/events/batch", "more_than": 8}),
    Fault("refusal without a map", {"kind": "status", "status": 422, "path": "/events/batch",
                                    "contains": ONE}, refused=ONE),
    Fault("one event refused", {"kind": "refuse", "path": "/events/batch", "contains": ONE}, refused=ONE),
    Fault("one event refused in a string", {"kind": "refuse", "path": "/events/batch", "contains": ONE,
                                            "details": "expression_evaluation_failed: Variable: b not found"},
          refused=ONE),
    Fault("one event that is poison", {"kind": "status", "status": 500, "path": "/events/batch",
                                       "contains": ONE}, refused=ONE),
    Fault("everything down", {"kind": "status", "status": 503, "path": "/events/batch"}),
    Fault("400 with an empty body", {"kind": "empty", "path": "/events/batch"}),
    Fault("redirect elsewhere", {"kind": "redirect", "path": "/events/batch",
                                 "location": "http://127.0.0.1:9/"}),
    Fault("key revoked", {"kind": "status", "status": 401, "path": "/events/batch"}),
    Fault("reads fail too", {"kind": "drop_after", "path": "/events", "probability": 0.2, "seed": 3}),
]  # fmt: skip


def attempt(world: World) -> DeliveryReport | None:
    """A run's report; None where it ended in one of our errors."""
    try:
        return world.deliver()
    except LagoPipelineError:
        return None


@pytest.fixture(params=["postgres", "clickhouse"])
def either(request: pytest.FixtureRequest) -> World:
    """A Lago of each kind; the one with ClickHouse has no deduplication, and bills every copy."""
    world: World = request.getfixturevalue("world" if request.param == "postgres" else "clickhouse")
    world.sync = replace(SYNC, delivery=Delivery(batch_size=20, concurrency=2, max_attempts=4))
    world.source(rows(range(ROWS)))
    return world


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_nothing_is_lost_or_doubled(either: World, fault: Fault) -> None:
    """While the fault lasts no run is green that should not be; afterwards one run brings all to its end."""
    world = either
    if fault.options is not None:
        world.client = LagoClient(world.lago.api_url, world.lago.api_key, options=fault.options)
    world.lago.set_faults([fault.rule])
    wanted = [key for key in ALL if key != fault.refused]
    greens = []
    for _ in range(2):
        report = attempt(world)
        is_all_there = world.held() == ALL
        greens.append(report is not None and report.is_settled and not is_all_there)
        assert report is None or report.broken_laws == ()
    if fault.refused:
        assert world.held() == wanted
        assert world.lines("row_key, status") == [
            (key, "rejected" if key == ONE else "accepted") for key in ALL
        ]
    (described,) = world.lago.sandbox.faults.describe()
    world.lago.clear_faults()
    report = world.deliver()
    held = world.held()
    lost, doubled = len(set(ALL) - set(held)), len(held) - len(set(held))
    print(f"| {fault.name} | {world.client.organization().events_store} | {described['fired']} "
          f"| {lost} | {doubled} | {sum(greens)} |")  # fmt: skip
    assert (lost, doubled, sum(greens)) == (0, 0, 0)
    assert (report.is_settled, report.broken_laws) == (True, ())
    assert world.lines("row_key, status") == [(key, "accepted") for key in ALL]
    assert int(str(described["fired"])) > 0


def test_a_lago_that_stored_half_of_a_refused_batch(world: World) -> None:
    """Versions 1.32.4 to 1.38: the duplicates are refused and the others are stored all the same."""
    world.sync = replace(SYNC, delivery=Delivery(batch_size=20, concurrency=2, max_attempts=4))
    world.deliver(rows(range(0, ROWS, 3)))
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("delete from sent")
    world.lago.set_faults([{"kind": "partial_store", "path": "/events/batch"}])
    report = world.deliver(rows(range(ROWS)))
    assert (report.is_settled, report.counts.accepted, world.held()) == (True, ROWS, ALL)


def test_a_lost_ledger_doubles_nothing_and_asks_in_bulk(world: World) -> None:
    """Every event is a duplicate then: proven by windows, in far fewer questions than events."""
    world.sync = replace(SYNC, delivery=Delivery(batch_size=100, concurrency=2))
    world.deliver(rows(range(ROWS)))
    with world.ledger.begin() as connection:
        connection.exec_driver_sql("delete from sent")
        connection.exec_driver_sql("update partitions set digest = null")
    report = world.deliver()
    assert (report.is_settled, report.counts.accepted, world.held()) == (True, ROWS, ALL)
    assert sum(world.requests("GET /events").values()) <= 3
    assert world.requests("GET /events/{id}") == {}
