"""What the demo's usage looks like, and that nothing but the planted rows is wrong with it."""

import re
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lago_pipeline.demo.customers import CUSTOMERS, SUBSCRIPTIONS
from lago_pipeline.demo.planted import IDENTICAL_TWINS, PLANTED
from lago_pipeline.demo.rows import DAYS
from lago_pipeline.demo.warehouse import SeedSummary

Rows = list[sqlite3.Row]
Dated = list[tuple[datetime, sqlite3.Row]]

PLAIN_DECIMAL = re.compile(r"\d+(\.\d{1,9})?")
KNOWN_IDS = {each.external_id for each in SUBSCRIPTIONS}


def instant(text: str) -> datetime:
    """Read a timestamp as the source does: one without an offset is UTC."""
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


@pytest.fixture(scope="module")
def requests(seeded: tuple[Path, SeedSummary]) -> Rows:
    """Read all rows of `api_requests`."""
    return read(seeded[0], "api_requests")


@pytest.fixture(scope="module")
def dated(requests: Rows) -> Dated:
    """Pair the rows of `api_requests` whose timestamp can be read with its instant."""
    readable = [row for row in requests if "25:61" not in row["requested_at"]]
    return [(instant(row["requested_at"]), row) for row in readable]


@pytest.fixture(scope="module")
def seats(seeded: tuple[Path, SeedSummary]) -> Rows:
    """Read all rows of `active_seats` in the order of time."""
    return sorted(read(seeded[0], "active_seats"), key=lambda row: str(row["seen_at"]))


def read(path: Path, table: str) -> Rows:
    """Read a whole table."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return database.execute(f"select * from {table}").fetchall()


def problem(row: sqlite3.Row, copies: Counter[str]) -> str | None:
    """Say why this row of `api_requests` cannot be billed, by rules written apart from the pipeline."""
    if row["request_id"] is None:
        return "missing_primary_key"
    if copies[row["request_id"]] > 1:
        return "duplicate_key"
    if row["subscription_id"] not in KNOWN_IDS:
        return "missing_external_subscription_id"
    try:
        instant(row["requested_at"])
    except ValueError:
        return "invalid_timestamp"
    if "\x00" in row["endpoint"]:
        return "invalid_character"
    return None if PLAIN_DECIMAL.fullmatch(row["weight"] or "") else "rejected"


def test_only_the_planted_requests_are_wrong(requests: Rows) -> None:
    """Every row of api_requests is good, or is one of PLANTED with the reason it names."""
    distinct = set(map(tuple, requests))
    copies = Counter(row[0] for row in distinct if row[0] is not None)
    found = [(tuple(row), problem(row, copies)) for row in requests]
    wrong = {(row, reason) for row, reason in found if reason is not None}
    assert wrong == {
        (tuple(row), planted.reason)
        for planted in PLANTED
        if planted.table == "api_requests"
        for row in planted.rows
    }


def test_only_the_planted_seat_is_wrong(seats: Rows) -> None:
    """Every row of active_seats names a subscription, or is the planted one."""
    wrong = [row for row in seats if row["subscription_id"] not in KNOWN_IDS]
    assert [(str(row["seat_event_id"]), row["subscription_id"]) for row in wrong] == [("9000001", "")]


def test_planted_days() -> None:
    """Each planted mistake has a day of its own within the four weeks, so that most days are good."""
    planted_days = [planted.day for planted in PLANTED]
    assert len(set(planted_days)) == len(PLANTED) == 7
    assert set(planted_days) < set(DAYS)


def test_planted_rows_are_found_by_day_and_key(warehouse: sqlite3.Connection) -> None:
    """A person who looks for a planted day and key in the table finds exactly its rows."""
    columns = {"api_requests": ("request_id", "requested_at"), "active_seats": ("seat_event_id", "seen_at")}
    for planted in PLANTED:
        key, time = columns[planted.table]
        found = warehouse.execute(
            f"select * from {planted.table} where {key} is ? and {time} like ? || '%'",
            (planted.key if key == "request_id" else int(planted.key or 0), planted.day.isoformat()),
        ).fetchall()
        assert [tuple(row) for row in found] == [tuple(row) for row in planted.rows]


def test_identical_twins(warehouse: sqlite3.Connection) -> None:
    """One row was loaded twice with the same contents; that is no refusal."""
    key = IDENTICAL_TWINS[0].request_id
    found = warehouse.execute("select * from api_requests where request_id = ?", (key,)).fetchall()
    assert tuple(map(tuple, found)) == IDENTICAL_TWINS
    assert key not in {planted.key for planted in PLANTED}


def test_every_day_has_its_usage(dated: Dated, seats: Rows) -> None:
    """Each of the 28 UTC days has 2,500 to 3,500 requests and 200 to 400 seat events, no other day any."""
    requests_a_day = Counter(at.date() for at, _ in dated)
    seats_a_day = Counter(instant(row["seen_at"]).date() for row in seats)
    assert set(requests_a_day) == set(seats_a_day) == set(DAYS)
    assert len(DAYS) == 28
    assert all(2500 <= count <= 3500 for count in requests_a_day.values())
    assert all(200 <= count <= 400 for count in seats_a_day.values())


def test_customers_differ_in_size_and_every_subscription_is_used(dated: Dated) -> None:
    """The largest subscription has fifty times the requests of the smallest, and none has nothing."""
    used = Counter(row["subscription_id"] for _, row in dated)
    assert set(used) - {None} == KNOWN_IDS
    assert max(used.values()) > 50 * min(used[each] for each in KNOWN_IDS)
    assert len({customer.external_id for customer in CUSTOMERS}) == len(CUSTOMERS) > 5


def test_offices_rest(dated: Dated) -> None:
    """Offices call by day and on weekdays, machines all the time."""
    seen: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    for at, row in dated:
        seen[row["subscription_id"]][at.weekday() < 5 and 6 <= at.hour < 18] += 1
    office, machine = seen["sub_hafenblick_prod"], seen["sub_fjord_prod"]
    assert office[True] > 5 * office[False]
    assert machine[True] < machine[False]


def test_timestamps_are_spelled_in_three_ways(dated: Dated) -> None:
    """Most timestamps are plain; `T…Z` and `+02:00` occur too, the latter with another date than UTC's."""
    spellings: Counter[str] = Counter()
    other_dates: Counter[date] = Counter()
    for at, row in dated:
        text = row["requested_at"]
        spellings[text[10] + text[23:]] += 1
        other_dates[at.date()] += text[:10] != at.date().isoformat()
    assert set(spellings) == {" ", "TZ", "T+02:00"}
    assert spellings[" "] > 0.85 * spellings.total()
    assert min(spellings.values()) > 2_000
    assert all(other_dates[day] > 10 for day in DAYS)


def test_one_row_in_a_hundred_is_late(dated: Dated) -> None:
    """Rows reach the warehouse within ten minutes, about 1 % of them one to three days later."""
    delays = [instant(row["loaded_at"]) - at for at, row in dated]
    late = [delay for delay in delays if delay > timedelta(minutes=10, seconds=2)]
    assert 0.005 < len(late) / len(delays) < 0.015
    assert min(delays) > timedelta(0)
    assert timedelta(days=1) <= min(late) < max(late) <= timedelta(days=3)


def test_awkward_values_occur(requests: Rows) -> None:
    """Quotes, backslashes, newlines, emoji, Chinese, umlauts, NULL regions and nine-digit weights occur."""
    endpoints = "|".join(row["endpoint"] for row in requests)
    assert all(character in endpoints for character in ('"', "'", "\\", "\n", "🚀", "搜索", "ß", "Ä"))
    regions = {row["region"] for row in requests}
    assert None in regions
    assert {"eu-central-1", "EU-Central-1"} < regions
    weights = {row["weight"] for row in requests}
    assert {"0.125", "1.000000001"} < weights


def test_a_seat_is_removed_only_while_it_is_used(seats: Rows) -> None:
    """A remove always follows an add of its seat, and no two events of the table share a timestamp."""
    assert len({row["seen_at"] for row in seats}) == len(seats)
    active: set[tuple[str, str]] = set()
    for row in seats:
        seat = (row["subscription_id"], row["seat"])
        assert row["operation"] == "add" or seat in active
        (active.add if row["operation"] == "add" else active.discard)(seat)
    assert Counter(row["operation"] for row in seats)["remove"] > 1_000


def test_seats_have_names_of_many_languages(seats: Rows) -> None:
    """Seats look like e-mail addresses, some not in ASCII; some have no team; ids are unique."""
    assert all(re.fullmatch(r"[^@\s]+@[a-z-]+\.example", row["seat"]) for row in seats)
    assert any(not row["seat"].isascii() for row in seats)
    assert None in {row["team"] for row in seats}
    assert len({row["seat_event_id"] for row in seats}) == len(seats)
