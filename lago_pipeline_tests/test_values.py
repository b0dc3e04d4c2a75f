"""Typed values as Lago reads them."""

import json
import math
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline.refusals import ProblemError, Reason
from lago_pipeline.values import (
    Unsupported,
    decimal_text,
    is_storable,
    json_text,
    number,
    plausible_timestamp_ms,
    property_text,
    seconds_text,
    timestamp_ms,
    value_text,
)

PLAIN_DECIMAL = re.compile(r"-?\d+(\.\d+)?")
UTC_ZONE = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
FINITE = st.decimals(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(places=4, min_value=-99, max_value=99)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def reason(function: Any, *arguments: object) -> Reason:
    """Call what must refuse, and give the reason's word."""
    with pytest.raises(ProblemError) as raised:
        function(*arguments)
    assert len(raised.value.problem.detail) < 200
    return raised.value.problem.reason


@given(st.integers() | st.integers(min_value=2**53, max_value=2**200))
@settings(max_examples=100)
def test_integers_survive_to_the_letter(value: int) -> None:
    """Integers beyond 2^53 and 2^63 leave as they came."""
    assert PLAIN_DECIMAL.fullmatch(value_text(value))
    assert value_text(value) == str(value)
    assert number(str(value)) == value


@given(FINITE)
@settings(max_examples=200)
def test_decimals_survive_to_the_letter(value: Decimal) -> None:
    """Decimals leave without exponent, with every digit; only absurd magnitudes are refused."""
    if abs(value.adjusted()) > 1000:
        assert reason(decimal_text, value) is Reason.NOT_A_NUMBER
        return
    written = value_text(value)
    assert PLAIN_DECIMAL.fullmatch(written)
    assert Decimal(written) == value
    assert Decimal(written).as_tuple().exponent == min(0, int(value.as_tuple().exponent))


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200)
def test_floats_leave_as_their_shortest_decimal(value: float) -> None:
    """A float leaves as the shortest decimal that reads back as the same float."""
    assert PLAIN_DECIMAL.fullmatch(value_text(value))
    assert float(value_text(value)) == value
    assert Decimal(value_text(value)) == Decimal(repr(value))


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("sNaN"), Decimal("-Inf")]
)
def test_what_is_no_number_is_refused(value: float | Decimal) -> None:
    """NaN and infinity are refused everywhere: alone, in JSON, as numbers and as times."""
    for function in (value_text, property_text, json_text, decimal_text, number):
        assert reason(function, value) is Reason.NOT_A_NUMBER
    assert reason(value_text, {"a": [value]}) is Reason.NOT_A_NUMBER
    assert reason(timestamp_ms, value, UTC_ZONE) is Reason.NOT_A_NUMBER


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        (" a ", " a "),
        (True, "true"),
        (False, "false"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1.50"), "1.50"),
        (Decimal("-0.0"), "-0.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e22, "10000000000000000000000"),
        (5e-324, f"0.{'0' * 323}5"),
        (date(2026, 1, 5), "2026-01-05"),
        (time(1, 2, 3), "01:02:03"),
        (datetime(2026, 1, 5, 1, 2, 3, 400000), "2026-01-05T01:02:03.400000"),  # noqa: DTZ001 - naive on purpose
        (datetime(2026, 1, 5, 1, tzinfo=timezone(timedelta(hours=2))), "2026-01-04T23:00:00Z"),
        (datetime(2026, 7, 5, 1, tzinfo=BERLIN), "2026-07-04T23:00:00Z"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=5))), "9999-12-31T23:00:00-05:00"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))), "0001-01-01T00:00:00+05:00"),
        (timedelta(days=1, microseconds=1), "86400.000001"),
        (timedelta(seconds=-1.5), "-1.5"),
        (timedelta.max, "86399999999999.999999"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (ip_address("::1"), "::1"),
        (ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (
            {"a": [1, Decimal("1.50"), 1e22, None, True, "é\n"]},
            '{"a":[1,1.50,10000000000000000000000,null,true,"é\\n"]}',
        ),
        (
            [datetime(2026, 1, 5, tzinfo=UTC), UUID(int=1)],
            '["2026-01-05T00:00:00Z","00000000-0000-0000-0000-000000000001"]',
        ),
        ((), "[]"),
        ({}, "{}"),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    """Every type has one spelling, the same wherever the value came from."""
    assert value_text(value) == text
    assert property_text(value) == text


def test_a_null_is_left_out_and_reads_as_nothing() -> None:
    """A null is no property, and no text inside a text."""
    assert property_text(None) is None
    assert value_text(None) == ""


@pytest.mark.parametrize(
    "value", [b"x", bytearray(b"x"), object(), {1, 2}, 1j, Unsupported("bytes"), [b"x"], {"a": b"x"}]
)
def test_types_without_a_place_are_refused(value: object) -> None:
    """A value that no text can stand for refuses its row."""
    assert reason(value_text, value) is Reason.UNSUPPORTED_VALUE
    assert reason(property_text, value) is Reason.UNSUPPORTED_VALUE


def test_the_refusal_names_the_type() -> None:
    """The type that the source gave is told, also after the spool."""
    for value in (b"x", Unsupported("bytes")):
        with pytest.raises(ProblemError, match="unsupported_value: a value of type bytes"):
            value_text(value)


def test_unsupported_values_look_the_same_in_every_process() -> None:
    """What stands for an unreadable value has no address in it, since rows are hashed."""
    assert repr(Unsupported("bytes")) == repr(Unsupported("bytes"))
    assert Unsupported("bytes") == Unsupported("bytes") != Unsupported("object")


@given(JSON)
@settings(max_examples=150)
def test_json_keeps_every_value(value: object) -> None:
    """JSON columns leave as JSON that reads back as the same values, numbers as numbers."""
    assert json.loads(json_text(value), parse_float=Decimal) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (" +5 ", 5),
        ("-0", 0),
        ("007", 7),
        ("1e3", Decimal(1000)),
        (".5", Decimal("0.5")),
        (0.1, Decimal("0.1")),
    ],
)
def test_numbers(value: object, expected: object) -> None:
    """A number may be a number or spell one; whole ones stay integers."""
    assert number(value) == expected
    assert isinstance(number(value), type(expected))


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "abc",
        "1,000",
        "0x10",
        "1_000",
        "--1",
        "1e",
        "nan",
        "inf",
        True,
        None,
        [],
        "9" * 5000,
        10**1001,
        "1e999999999",
        "1e-999999999",
        "1e99999999999999999999",
    ],
)
def test_what_spells_no_number(value: object) -> None:
    """Anything else, and a number of a size that nobody bills, is refused and never eats the memory."""
    assert reason(number, value) is Reason.NOT_A_NUMBER


@pytest.mark.parametrize(
    ("text", "storable"), [("é\n\x01\ufffe😀", True), ("a\x00", False), ("\ud83d", False)]
)
def test_what_lago_can_store(text: str, storable: bool) -> None:
    """NUL and half characters are what Lago's database refuses."""
    assert is_storable(text) is storable


MOMENT = 1767605400  # 2026-01-05T09:30:00Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-05T09:30:00Z", MOMENT * 1000),
        (" 2026-01-05 09:30:00+00 ", MOMENT * 1000),
        ("2026-01-05T10:30:00+01:00", MOMENT * 1000),
        ("2026-01-05T04:00:00-0530", MOMENT * 1000),
        ("20260105T093000Z", MOMENT * 1000),
        ("2026-01-05T09:30Z", MOMENT * 1000),
        ("2026-W02-1T09:30Z", MOMENT * 1000),
        ("2026-01-05 09:30:00.1239Z", MOMENT * 1000 + 123),
        ("2026-01-05 09:30:00,123Z", MOMENT * 1000 + 123),
        ("2026-01-05T09:30:00.999999999Z", MOMENT * 1000 + 999),
        (datetime(2026, 1, 5, 9, 30, 0, 999_999, tzinfo=UTC), MOMENT * 1000 + 999),
        (datetime(2026, 1, 5, 10, 30, tzinfo=BERLIN), MOMENT * 1000),
        (MOMENT, MOMENT * 1000),
        (str(MOMENT), MOMENT * 1000),
        (f"{MOMENT}.1239", MOMENT * 1000 + 123),
        (MOMENT + 0.5, MOMENT * 1000 + 500),
        ("1.7676054e9", MOMENT * 1000),
        (Decimal(MOMENT) + Decimal("0.9999"), MOMENT * 1000 + 999),
        (Decimal(f"{MOMENT}.{'9' * 40}"), MOMENT * 1000 + 999),
        (f"{MOMENT}.{'9' * 40}", MOMENT * 1000 + 999),
        (-0.0001, -1),
    ],
)
def test_timestamps(value: object, expected: int) -> None:
    """Every spelling of an instant gives its millisecond, rounded down."""
    assert timestamp_ms(value, UTC_ZONE) == expected
    assert timestamp_ms(value, BERLIN) == expected


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("2026-01-05", "2026-01-04T23:00"),
        (date(2026, 1, 5), "2026-01-04T23:00"),
        ("20260105", "2026-01-04T23:00"),
        ("2026-01-05 00:00:00", "2026-01-04T23:00"),
        (datetime(2026, 7, 5), "2026-07-04T22:00"),  # noqa: DTZ001 - naive on purpose
        ("2026-10-25T02:30:00", "2026-10-25T00:30"),  # happens twice: the first one
        (datetime(2026, 10, 25, 2, 30), "2026-10-25T00:30"),  # noqa: DTZ001 - naive on purpose
        (datetime(2026, 10, 25, 2, 30, fold=1), "2026-10-25T00:30"),  # noqa: DTZ001 - naive on purpose
        ("2026-03-29T02:30:00", "2026-03-29T01:30"),  # never happens: as far after the change
        ("2026-03-29T01:59:59", "2026-03-29T00:59:59"),
        ("2026-03-29T03:00:00", "2026-03-29T01:00"),
    ],
)
def test_local_times(value: object, utc: str) -> None:
    """A time without a zone is in the source's, also where the clocks change."""
    expected = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert timestamp_ms(value, BERLIN) == expected.timestamp() * 1000


@pytest.mark.parametrize(
    "value", [10**11, -(10**11), float(10**12), str(MOMENT * 1000), MOMENT * 10**6, "1e400"]
)
def test_milliseconds_are_recognised(value: object) -> None:
    """Epoch milliseconds would be billed in the year 50000, so they are refused by name."""
    assert reason(timestamp_ms, value, UTC_ZONE) is Reason.TIMESTAMP_IN_MILLISECONDS


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "soon",
        "2026-13-01",
        "2026-02-30",
        "05/01/2026",
        "2026-01-05T25:61:00",
        "now",
        "\ud800",
        time(1),
        timedelta(1),
        b"2026-01-05",
        [],
        Unsupported("bytes"),
    ],
)
def test_what_is_no_timestamp(value: object) -> None:
    """Anything that names no instant is refused."""
    assert reason(timestamp_ms, value, UTC_ZONE) is Reason.INVALID_TIMESTAMP


@pytest.mark.parametrize(
    "value", ["1999-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z", 0, 2026, MOMENT // 1000, 10**11 - 1]
)
def test_implausible_times(value: object) -> None:
    """An instant outside 2000 to 2100 is a mistake, such as milliseconds taken for seconds."""
    assert reason(plausible_timestamp_ms, value, UTC_ZONE) is Reason.INVALID_TIMESTAMP


@pytest.mark.parametrize("value", ["2000-01-01T00:00:00Z", "2099-12-31T23:59:59.999Z"])
def test_the_ends_of_what_is_plausible(value: str) -> None:
    """The first and the last millisecond that can be billed are taken."""
    assert plausible_timestamp_ms(value, UTC_ZONE) == timestamp_ms(value, UTC_ZONE)


@given(
    st.decimals(min_value=0, max_value=10**11 - 1, places=12)
    | st.floats(0, 10**10)
    | st.integers(0, 10**11 - 1)
)
@settings(max_examples=200)
def test_epoch_seconds_round_down(value: Decimal | float) -> None:
    """Epoch seconds of any type and its text give the same millisecond, never a later one."""
    instant = timestamp_ms(value, UTC_ZONE)
    exact = Fraction(repr(value)) if isinstance(value, float) else Fraction(value)
    assert Fraction(instant, 1000) <= exact < Fraction(instant + 1, 1000)
    assert timestamp_ms(format(Decimal(str(value)), ".12f"), UTC_ZONE) == instant


@given(st.integers(min_value=946_684_800_000, max_value=4_102_444_800_000))
@settings(max_examples=200)
def test_seconds_are_written_with_three_decimals_at_most(instant: int) -> None:
    """Lago's spelling of an instant reads back as the same millisecond."""
    assert re.fullmatch(r"\d+(\.\d{3})?", seconds_text(instant))
    assert Decimal(seconds_text(instant)) * 1000 == instant
