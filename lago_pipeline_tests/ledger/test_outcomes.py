"""What became of events is written in bulk, each line with its own values."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from lago_pipeline.event import Event
from lago_pipeline.ledger import outcomes as outcomes_module
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.outcomes import Outcome, settle
from lago_pipeline.report import Status
from lago_pipeline_tests.ledger.test_ledger import DAY

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


def outcome(number: int, **changes: object) -> Outcome:
    """What became of an event that is like the others, but for `changes`."""
    key = f"{number:05}"
    fields = {
        "row_key": key, "event_index": 0, "transaction_id": f"calls:calls:{key}", "code": "calls",
        "external_subscription_id": "s", "timestamp_ms": 5, "properties": '{"n":"1"}', "body": b"{}",
        "fingerprint": b"f" * 16, "problem": None,
    }  # fmt: skip
    reason = changes.pop("reason", None)
    event = Event(**{**fields, **changes})  # type: ignore[arg-type]
    return Outcome(event, Status.ACCEPTED, None if reason is None else str(reason), 200)


def written(engine: sa.Engine, outcomes: Sequence[Outcome], run: int = 1) -> list[tuple[object, ...]]:
    """Settle outcomes in one commit; returns all lines of the ledger by key."""
    with writing(engine) as connection:
        settle(connection, 1, DAY, outcomes, prefix="calls", run=run, now_ms=run)
    with reading(engine) as connection:
        statement = f"select {', '.join(COLUMNS)}, run, attempts from sent order by row_key, event_index"
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def line(outcome: Outcome, run: int = 1, attempts: int = 1) -> tuple[object, ...]:
    """The line of an outcome; an id of the usual form is left to the view."""
    event = outcome.event
    usual = f"calls:{event.code}:{event.row_key}"
    id_ = None if event.transaction_id == usual else event.transaction_id
    own = (event.row_key, event.event_index, event.fingerprint, event.code, event.external_subscription_id)
    return (*own, event.timestamp_ms, event.properties, id_, outcome.reason, run, attempts)


@pytest.mark.parametrize("count", [1, 2, 999, 1_000, 1_001, 2_500])
def test_every_line_is_written_once(ledger_engine: sa.Engine, count: int) -> None:
    """However many statements a commit takes, no line is left out, and none is written twice."""
    outcomes = [outcome(number) for number in range(count)]
    assert written(ledger_engine, outcomes) == [line(each) for each in outcomes]


@pytest.mark.parametrize("column", OTHERS)
def test_one_line_that_differs_keeps_its_own(ledger_engine: sa.Engine, column: str) -> None:
    """What all lines but one in the middle share stays that one's own, also over lines of an earlier run."""
    alike = [outcome(number) for number in range(9)]
    assert written(ledger_engine, alike) == [line(each) for each in alike]
    changes = {column: OTHERS[column]}
    mixed = [outcome(number, **(changes if number == 4 else {})) for number in range(9)]
    lines = written(ledger_engine, mixed, run=2)
    assert [each for each in lines if each[-2] == 2] == [
        line(each, 2, 1 if each.event.event_index else 2) for each in mixed
    ]


def test_all_columns_may_differ(ledger_engine: sa.Engine) -> None:
    """Full statements of lines that share nothing are within what any SQLite takes."""
    assert outcomes_module._ROWS_A_STATEMENT * len(COLUMNS) + len(outcomes_module._SHARED) <= 32_766
    outcomes = [
        outcome(number, event_index=number, fingerprint=number.to_bytes(16), code=f"c{number}",
                external_subscription_id=f"s{number}", timestamp_ms=number, properties=str(number),
                transaction_id=f"t{number}", reason=f"r{number}")
        for number in range(outcomes_module._ROWS_A_STATEMENT)
    ]  # fmt: skip
    assert written(ledger_engine, outcomes) == [line(each) for each in outcomes]
