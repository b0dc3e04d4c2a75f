"""What the ledger makes of a sync's name: known, renamed, a second one, removed, come back."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from lago_pipeline.errors import ConfigError
from lago_pipeline.ledger import events, partitions
from lago_pipeline.ledger.database import reading, writing
from lago_pipeline.ledger.identity import Usage, usage_of
from lago_pipeline.ledger.registry import RemovedSync, activate, find, register, removed_syncs
from lago_pipeline.ledger.runs import start_run
from lago_pipeline.sync import Source, Sync
from lago_pipeline_tests.ledger.test_ledger import DAY, LAGO, NEXT, event, outcome, settle

TABLE = Source(("id",), "at", table="calls")
CALLS = Sync("calls", TABLE, {"code": "calls"}, "calls", "lago")
RENAMED = replace(CALLS, name="phone_calls")
SECOND = replace(CALLS, name="more_calls", transaction_id_prefix="second")
UNDECIDED = replace(CALLS, name="new_calls", transaction_id_prefix="new_calls")


def known(engine: sa.Engine) -> list[tuple[str, str, str | None, str | None]]:
    """The syncs of the ledger: name, prefix, source and code."""
    with reading(engine) as connection:
        statement = "select name, transaction_id_prefix, source, code from syncs order by id"
        return [(row[0], row[1], row[2], row[3]) for row in connection.execute(sa.text(statement))]


def registered(engine: sa.Engine, sync: Sync) -> int:
    """The number that a delivery of a sync gets."""
    return register(engine, sync, "http://lago", LAGO).sync_id


def delivered(engine: sa.Engine, sync: Sync, *keys: str) -> int:
    """Deliver events of DAY; returns the sync's number."""
    sync_id = registered(engine, sync)
    with writing(engine) as connection:
        partitions.open_partition(connection, sync_id, DAY, 0)
        run = start_run(connection, sync_id, DAY, "run-1", 0)
        settle(connection, sync_id, [outcome(event(key)) for key in keys], run=run, now_ms=0)
    return sync_id


def test_source_and_code_are_recorded_and_kept_up_to_date(ledger_engine: sa.Engine) -> None:
    """A sync that an older version recorded, or whose declaration changes, is known by what it is now."""
    sync_id = registered(ledger_engine, CALLS)
    with writing(ledger_engine) as connection:
        connection.execute(sa.text("update syncs set source = null, code = null"))
    assert activate(ledger_engine, CALLS, 5).sync_id == sync_id
    assert known(ledger_engine) == [("calls", "calls", "table:calls", "calls")]
    changed = replace(CALLS, source=replace(TABLE, table="calls_2"), event={"code": "{{ row.kind }}"})
    assert registered(ledger_engine, changed) == sync_id
    assert known(ledger_engine) == [("calls", "calls", "table:calls_2", "{{ row.kind }}")]


def test_a_rename_keeps_lines_activation_and_partitions(ledger_engine: sa.Engine) -> None:
    """A new name with the old prefix is the same sync: nothing is sent again."""
    sync_id = delivered(ledger_engine, CALLS, "a", "b")
    activate(ledger_engine, CALLS, 5)
    renamed = register(ledger_engine, RENAMED, "http://lago", LAGO)
    assert (renamed.sync_id, renamed.activated_at_ms) == (sync_id, 5)
    assert known(ledger_engine) == [("phone_calls", "calls", "table:calls", "calls")]
    with reading(ledger_engine) as connection:
        lines = connection.execute(sa.text('select sync, "partition", transaction_id from lago_events'))
        assert sorted(map(tuple, lines)) == [
            ("phone_calls", "2026-03-01", "calls:calls:a"),
            ("phone_calls", "2026-03-01", "calls:calls:b"),
        ]
    assert registered(ledger_engine, RENAMED) == sync_id


def test_a_start_records_a_rename_too(ledger_engine: sa.Engine) -> None:
    """The schedule's start of a renamed sync keeps its first activation."""
    sync_id = activate(ledger_engine, CALLS, 5).sync_id
    renamed = activate(ledger_engine, RENAMED, 9)
    assert (renamed.sync_id, renamed.activated_at_ms) == (sync_id, 5)
    assert [name for name, *_ in known(ledger_engine)] == ["phone_calls"]


def test_a_new_name_that_says_nothing_is_refused(ledger_engine: sa.Engine) -> None:
    """Known usage under a new name and its own prefix would be billed twice: one line says what to write."""
    registered(ledger_engine, CALLS)
    said = (
        "sync new_calls: the ledger has its usage (code calls) as sync calls: to rename that one, write "
        "transaction_id_prefix: calls; for a second sync of the same usage, write a transaction_id_prefix "
        "that is not new_calls"
    )
    for attempt in (
        lambda: registered(ledger_engine, UNDECIDED),
        lambda: activate(ledger_engine, UNDECIDED, 1),
    ):
        with pytest.raises(ConfigError) as error:
            attempt()
        assert str(error.value) == said
    assert [name for name, *_ in known(ledger_engine)] == ["calls"]


def test_another_prefix_makes_a_second_sync_of_the_same_usage(ledger_engine: sa.Engine) -> None:
    """An explicit other prefix is registered beside the first, and each is renamed by its own prefix."""
    first = registered(ledger_engine, CALLS)
    second = registered(ledger_engine, SECOND)
    assert first != second
    assert registered(ledger_engine, replace(SECOND, name="other_calls")) == second
    assert registered(ledger_engine, RENAMED) == first
    assert [name for name, *_ in known(ledger_engine)] == ["phone_calls", "other_calls"]


@pytest.mark.parametrize(
    "other",
    [
        replace(CALLS, name="texts", transaction_id_prefix="texts", event={"code": "texts"}),
        replace(UNDECIDED, source=replace(TABLE, table="other")),
        replace(UNDECIDED, destination="lago_eu"),
        replace(UNDECIDED, event={}),
    ],
    ids=["code", "table", "destination", "no code"],
)
def test_other_usage_is_a_new_sync(ledger_engine: sa.Engine, other: Sync) -> None:
    """Another code, source or destination, or a code that cannot be told, is never taken for a rename."""
    first = registered(ledger_engine, CALLS)
    registered(ledger_engine, replace(CALLS, name="blank", transaction_id_prefix="blank", event={}))
    assert find(ledger_engine, other) is None
    assert registered(ledger_engine, other) > first


def test_a_known_name_with_another_prefix_is_refused(ledger_engine: sa.Engine) -> None:
    """Whatever else matches, a known name keeps its prefix: another one gives every row another id."""
    registered(ledger_engine, CALLS)
    registered(ledger_engine, SECOND)
    with pytest.raises(ConfigError, match="transaction_id_prefix was 'calls': set it to that again"):
        registered(ledger_engine, replace(CALLS, transaction_id_prefix="second"))


def test_find_understands_a_rename_and_writes_nothing(ledger_engine: sa.Engine) -> None:
    """`find` gives the old numbers for the new name, None where `register` would refuse, and never raises."""
    assert find(ledger_engine, CALLS) is None
    before = activate(ledger_engine, CALLS, 5)
    assert find(ledger_engine, CALLS) == before
    assert find(ledger_engine, RENAMED) == before
    assert find(ledger_engine, UNDECIDED) is None
    assert find(ledger_engine, SECOND) is None
    assert known(ledger_engine) == [("calls", "calls", "table:calls", "calls")]


def test_two_first_starts_of_one_usage_cannot_both_pass(ledger_engine: sa.Engine) -> None:
    """Two new syncs of the same usage that start at the same moment are registered one after another."""
    names = [f"twin_{number}" for number in range(6)]

    def start(name: str) -> bool:
        try:
            activate(ledger_engine, replace(CALLS, name=name, transaction_id_prefix=name), 1)
        except ConfigError:
            return False
        return True

    with ThreadPoolExecutor(len(names)) as threads:
        assert sorted(threads.map(start, names)) == [False] * 5 + [True]


def test_removed_syncs_are_listed_with_what_is_left_open(ledger_engine: sa.Engine) -> None:
    """A sync that the project has no more is named, with its unsettled and open partitions."""
    sync_id = delivered(ledger_engine, CALLS, "a")
    with writing(ledger_engine) as connection:
        for day, state in ((DAY, "unsettled"), (NEXT, "open")):
            partitions.open_partition(connection, sync_id, day, 0)
            connection.execute(
                sa.text("update partitions set state = :state where partition_start = :start"),
                {"state": state, "start": day.start_ms},
            )
    second = activate(ledger_engine, replace(SECOND, destination="eu"), 1).sync_id
    present = {("lago", "calls"), ("eu", "more_calls")}
    assert removed_syncs(ledger_engine, present) == []
    assert removed_syncs(ledger_engine, [("eu", "calls")]) == [
        RemovedSync(second, "more_calls", "eu", 0, 0),
        RemovedSync(sync_id, "calls", "lago", 1, 1),
    ]


def test_a_removed_sync_that_comes_back_continues(ledger_engine: sa.Engine) -> None:
    """Under its own name a sync finds its lines again, whatever was registered meanwhile."""
    sync_id = delivered(ledger_engine, CALLS, "a")
    activate(ledger_engine, CALLS, 5)
    registered(ledger_engine, SECOND)
    back = register(ledger_engine, CALLS, "http://lago", LAGO)
    assert (back.sync_id, back.activated_at_ms) == (sync_id, 5)
    with reading(ledger_engine) as connection:
        assert events.count_by_status(connection, sync_id, DAY) == {"accepted": 1}


@pytest.mark.parametrize(
    ("declared", "code"),
    [
        ({"code": "calls"}, "calls"),
        ({"code": 42}, "42"),
        ({"code": "{{ row.kind }}"}, "{{ row.kind }}"),
        ({}, None),
        ('{"event": {"code": "calls"}}', "calls"),
        ('{"properties": {"code": "no", "x": {{ row.x }}}, "code" : "c\\u00e4lls"}', "cälls"),
        ('{"properties": {"a": "{{ row.a | default: "}" }}"}, "code": "{{ row.k | default: "x" }}"}',
         '{{ row.k | default: "x" }}'),
        ('{"transaction_id": "code", "code": {{ row.kind }}, "properties": {}}', "{{ row.kind }}"),
        ('{"code": 42}', "42"),
        ('{"properties": {"code": "no"}}', None),
        ("no JSON", None),
    ],
)  # fmt: skip
def test_the_code_is_told_from_the_declaration(
    declared: str | Mapping[str, object], code: str | None
) -> None:
    """A mapping and the same event pasted as JSON have the same code, and a property `code` is none."""
    assert usage_of(replace(CALLS, event=declared)).code == code


def test_a_query_is_known_whatever_its_line_breaks() -> None:
    """Reformatting a query does not make it another one; changing a word does."""
    one, same, other = (
        usage_of(replace(CALLS, source=Source(("id",), "at", query=query)))
        for query in ("select *\n  from calls", " select * from calls\n", "select * from texts")
    )
    assert one == same != other
    assert one.source is not None
    assert one.source.startswith("query:")
    assert usage_of(replace(CALLS, source=Source(("id",), "at"))) == Usage(None, "calls")
