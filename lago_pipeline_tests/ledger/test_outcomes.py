"""What became of events is written in bulk, each line with its own values."""

from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa

from lago_pipeline.event import Event, Events
from lago_pipeline.ledger import outcomes as outcomes_module
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.outcomes import Outcome
from lago_pipeline.report import Status
from lago_pipeline_tests.ledger.test_ledger import settle

COLUMNS = (
    "row_key", "event_index", "fingerprint", "code", "external_subscription_id", "timestamp_ms",
    "properties", "transaction_id", "reason",
)  # fmt: skip
OTHERS: dict[str, object] = {
    "event_index": 7,
    "fingerprint": b"g" * 16,
    "code": "other",
    "external_subscription_id": None,
    "timestamp_ms": None,
    "properties": "{}",
    "transaction_id": "own",
    "reason": "words",
}
"""A value of each column that is not what the other lines have."""


def event(number: int, **changes: object) -> Event:
    """An event that is like the others, but for `changes`."""
    key = f"{number:05}"
    fields = {
        "row_key": key, "event_index": 0, "transaction_id": f"calls:calls:{key}", "code": "calls",
        "external_subscription_id": "s", "timestamp_ms": 5, "properties": '{"n":"1"}', "body": b"{}",
        "fingerprint": b"f" * 16, "problem": None,
    }  # fmt: skip
    return Event(**{**fields, **changes})  # type: ignore[arg-type]


def outcome(number: int, reason: str | None = None, **changes: object) -> Outcome:
    """What became of such an event."""
    return Outcome(Events.of([event(number, **changes)]), Status.ACCEPTED, reason, 200)


def written(engine: sa.Engine, outcomes: Iterable[Outcome], run: int = 1) -> list[tuple[object, ...]]:
    """Settle outcomes in one commit; returns all lines of the ledger by key."""
    with writing(engine) as connection:
        settle(connection, 1, outcomes, run=run, now_ms=run)
    with reading(engine) as connection:
        statement = (
            f"select {', '.join(COLUMNS)}, status, http_status, run, attempts from sent "
            "order by row_key, event_index"
        )
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def lines(*outcomes: Outcome, run: int = 1, attempts: int = 1) -> list[tuple[object, ...]]:
    """The lines of outcomes; the reason is an event's own problem where its outcome has none."""
    return [
        (*line(event), each.reason or event.problem, each.status.value, each.http_status, run, attempts)
        for each in outcomes
        for event in each.events
    ]


def line(event: Event) -> tuple[object, ...]:
    """What an event's line has of the event; an id of the usual form is left to the view."""
    usual = f"calls:{event.code}:{event.row_key}"
    id_ = None if event.transaction_id == usual else event.transaction_id
    own = (event.row_key, event.event_index, event.fingerprint, event.code, event.external_subscription_id)
    return (*own, event.timestamp_ms, event.properties, id_)


@pytest.mark.parametrize("count", [1, 2, 999, 1_000, 1_001, 2_500])
def test_every_line_is_written_once(ledger_engine: sa.Engine, count: int) -> None:
    """However many statements a commit takes, no line is left out, and none is written twice."""
    outcomes = [outcome(number) for number in range(count)]
    assert written(ledger_engine, outcomes) == lines(*outcomes)


@pytest.mark.parametrize("column", OTHERS)
def test_one_line_that_differs_keeps_its_own(ledger_engine: sa.Engine, column: str) -> None:
    """What all lines but one in the middle share stays that one's own, also over lines of an earlier run."""
    alike = [outcome(number) for number in range(9)]
    assert written(ledger_engine, alike) == lines(*alike)
    changes: dict[str, Any] = {column: OTHERS[column]}
    mixed = [outcome(number, **(changes if number == 4 else {})) for number in range(9)]
    found = written(ledger_engine, mixed, run=2)
    assert [each for each in found if each[-2] == 2] == [
        own for each in mixed for own in lines(each, run=2, attempts=1 if each.events[0].event_index else 2)
    ]


def test_an_id_of_an_event_without_a_code_is_kept(ledger_engine: sa.Engine) -> None:
    """Such an event is quarantined, and its id is not of the usual form."""
    own = outcome(1, code=None, transaction_id="own", problem="missing_code: the value is None")
    assert written(ledger_engine, [own]) == lines(own)
    assert written(ledger_engine, [own])[0][7] == "own"


def test_all_columns_may_differ(ledger_engine: sa.Engine) -> None:
    """Full statements of lines that share nothing are within what any SQLite takes."""
    assert outcomes_module._ROWS_A_STATEMENT * len(COLUMNS) + len(outcomes_module._SHARED) <= 32_766
    outcomes = [
        outcome(number, event_index=number, fingerprint=number.to_bytes(16), code=f"c{number}",
                external_subscription_id=f"s{number}", timestamp_ms=number, properties=str(number),
                transaction_id=f"t{number}", reason=f"r{number}")
        for number in range(outcomes_module._ROWS_A_STATEMENT)
    ]  # fmt: skip
    assert written(ledger_engine, outcomes) == lines(*outcomes)


MANY = Events.of(
    event(
        number,
        code=f"c{number % 3}",
        properties=str(number),
        problem=f"p{number}: why" if number % 2 else None,
    )
    for number in range(60)
)
ODD, EVEN = MANY[1::2], MANY[::2]
OF_SEVERAL = {
    "one outcome of several events": [Outcome(EVEN[7:12], Status.ACCEPTED, None, 200)],
    "one kind with several reasons": [
        Outcome(EVEN[20:23], Status.REJECTED, "no", 422),
        Outcome(EVEN[4:5], Status.REJECTED, "never", 422),
        Outcome(EVEN[10:14], Status.REJECTED, "nowhere", 422),
    ],
    "one kind with a reason and problems": [
        Outcome(MANY[31:36], Status.QUARANTINED),
        Outcome(MANY[11:17], Status.QUARANTINED, "words"),
        Outcome(ODD[20:22], Status.QUARANTINED),
    ],
    "one status from several answers": [
        Outcome(EVEN[15:18], Status.ACCEPTED, None, 200),
        Outcome(EVEN[3:6], Status.ACCEPTED, None, 422),
        Outcome(EVEN[8:9], Status.ACCEPTED),
        Outcome(EVEN[25:28], Status.ACCEPTED, None, 200),
    ],
    "several kinds": [
        Outcome(EVEN[20:24], Status.REJECTED, "no", 422),
        Outcome(ODD[5:9], Status.QUARANTINED),
        Outcome(EVEN[2:4], Status.ACCEPTED, None, 200),
        Outcome(EVEN[12:15], Status.HELD, "elsewhere"),
        Outcome(EVEN[28:], Status.REJECTED, "alone", 500),
        Outcome(ODD[20:21], Status.QUARANTINED),
        Outcome(EVEN[10:12], Status.ACCEPTED, None, 422),
        Outcome(EVEN[15:16], Status.CONFLICT, "another", 422),
    ],
}


@pytest.mark.parametrize("outcomes", OF_SEVERAL.values(), ids=OF_SEVERAL)
def test_outcomes_of_several_events_keep_their_own(ledger_engine: sa.Engine, outcomes: list[Outcome]) -> None:
    """Each line has its event's values and its outcome's status, answer and reason, whatever is beside it."""
    assert written(ledger_engine, outcomes) == sorted(lines(*outcomes), key=lambda own: str(own[0]))
