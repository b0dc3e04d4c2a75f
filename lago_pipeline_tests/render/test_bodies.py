"""The body of an event: valid JSON that says exactly what the row says, or a reason."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lago_pipeline.refusals import REMEDIES, Problem, Reason
from lago_pipeline.values import Unsupported
from lago_pipeline_tests.render.rendering import NOON, body, mapping, problem, properties, rendered

PASTED = """{"event": {"code": "c", "external_subscription_id": "s", "properties": {
  "bare": {{ row.x }}, "json": {{ row.x | json }}, "quoted": "{{ row.x }}", "mixed": "<{{ row.x }}>"
}}}"""
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
AWKWARD = st.lists(
    st.sampled_from(['"', "\\", "\n", "{{", "}}", "{%", "\u2028", "😀", "',", '":"', "\\u0000"])
).map("".join)


@given(TEXT | AWKWARD)
@settings(max_examples=200)
def test_any_text_arrives_as_it_is(value: str) -> None:
    """No text of a row can break the JSON, change another member or add one."""
    event = rendered(PASTED, x=value)
    assert body(event) == {
        "transaction_id": "seats:c:1",
        "external_subscription_id": "s",
        "code": "c",
        "timestamp": "1767614400",
        "properties": {"bare": value, "json": value, "quoted": value, "mixed": f"<{value}>"},
    }
    assert json.loads(event.properties or "") == body(event)["properties"]


@given(TEXT | AWKWARD)
@settings(max_examples=100)
def test_any_text_identifies(value: str) -> None:
    """Code, subscription and id take any text but a blank one."""
    event = rendered(
        {"code": "{{ row.x }}", "external_subscription_id": "{{ row.x }}", "transaction_id": "{{ row.x }}"},
        x=value,
    )
    if not value.strip():
        assert (event.problem or "").startswith("missing_code: ")
        return
    sent = body(event)
    assert [sent[name] for name in ("code", "external_subscription_id", "transaction_id")] == [value] * 3


@given(st.integers(min_value=2**53) | st.decimals(allow_nan=False, allow_infinity=False, places=9))
@settings(max_examples=150)
def test_any_number_arrives_to_the_letter(value: int | Decimal) -> None:
    """Numbers arrive as the plain decimals that Lago sums, typed or in text, before and after arithmetic."""
    sent = body(rendered(PASTED, x=value))["properties"]
    assert (
        sent["bare"] == sent["json"] == sent["quoted"] == properties("{{ row.x | times: 1 }}", x=value)["p"]
    )
    assert re.fullmatch(r"^-?\d+(\.\d+)?$", sent["bare"])
    assert Decimal(sent["bare"]) == value


@pytest.mark.parametrize(
    "liquid", ["{{ row.x }}", "v={{ row.x }}", "{{ row.x | upcase }}", "{{ row.x | json }}"]
)
@pytest.mark.parametrize("value", ["a\x00b", "\ud800"])
def test_characters_that_lago_cannot_store(liquid: str, value: str) -> None:
    """NUL would poison a whole batch for ever: its row is refused, with the property's name."""
    told = problem(liquid, x=value)
    assert told.startswith("invalid_character: a NUL or half character in properties.p")
    assert "\x00" not in told


@pytest.mark.parametrize("field", ["code", "external_subscription_id", "transaction_id"])
def test_nul_in_what_identifies(field: str) -> None:
    """NUL in code, subscription or id refuses the row too, and is not carried on."""
    event = rendered(mapping(**{field: "{{ row.x }}"}), x="a\x00b")
    assert (event.problem or "").startswith(f"invalid_character: a NUL or half character in {field}")
    assert "\x00" not in f"{event.problem}{event.code}{event.external_subscription_id}"


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("code", "missing_code"),
        ("external_subscription_id", "missing_external_subscription_id"),
        ("transaction_id", "missing_transaction_id"),
    ],
)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_identifies_must_be_there(field: str, word: str, value: object) -> None:
    """A blank code, subscription or id refuses the row under its own word."""
    for liquid in ("{{ row.x }}", "{{ row.x | downcase }}", "{% if row.x %}{{ row.x }}{% endif %}"):
        assert (rendered(mapping(**{field: liquid}), x=value).problem or "").startswith(f"{word}: ")


def test_numbers_and_booleans_identify_as_text() -> None:
    """A numeric subscription id is sent as text."""
    sent = body(rendered(mapping(external_subscription_id="{{ row.x }}"), x=12345678901234567890))
    assert sent["external_subscription_id"] == "12345678901234567890"


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (None, None),
        (12, "12"),
        ("12.50", "12.50"),
        (Decimal("1E+3"), "1000"),
        (1e-7, "0.0000001"),
        ("-1", "-1"),
    ],
)
def test_amounts(value: object, amount: str | None) -> None:
    """An amount leaves as an exact plain decimal, and a null one is left out."""
    sent = body(rendered(mapping(precise_total_amount_cents="{{ row.x }}"), x=value))
    assert sent.get("precise_total_amount_cents") == amount


@pytest.mark.parametrize(
    "value",
    ["", "abc", "1,000", True, float("nan"), 10**25, -(10**25), "1e25", "1e999999999", "9" * 5000, [1]],
)
def test_amounts_that_lago_would_take_for_zero(value: object) -> None:
    """An amount that Lago cannot read or store refuses the row."""
    event = rendered(mapping(precise_total_amount_cents="{{ row.x }}"), x=value)
    assert (event.problem or "").startswith("not_a_number: ")


@pytest.mark.parametrize(
    ("liquid", "value", "word"),
    [
        ("{{ row.x }}", float("nan"), "not_a_number"),
        ("v={{ row.x }}", Decimal("Infinity"), "not_a_number"),
        ("{{ row.x }}", b"x", "unsupported_value: a value of type bytes"),
        ("v={{ row.x }}", Unsupported("bytea"), "unsupported_value: a value of type bytea"),
        ("{{ row.x | upcase }}", b"x", "unsupported_value: a value of type bytes"),
        ("{{ row.x }}", {"a": b"x"}, "unsupported_value: a value of type bytes"),
    ],
)
def test_values_that_nobody_could_bill(liquid: str, value: object, word: str) -> None:
    """NaN, infinity and types without a text refuse the row."""
    assert problem(liquid, x=value).startswith(word)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "9999-12-31T23:59:59Z"),
        (datetime.fromisoformat("9999-12-31T23:59:59-05:00"), "9999-12-31T23:59:59-05:00"),
    ],
)
def test_the_end_of_time(value: datetime, expected: str) -> None:
    """The far dates that mean "for ever" are values like any other."""
    assert properties("{{ row.x }}", x=value) == {"p": expected}
    assert properties("{{ row.x | append: '' }}", x=value) == {"p": expected}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("code", b"x", "unsupported_value: a value of type bytes in code"),
        (
            "external_subscription_id",
            {"a": b"x"},
            "unsupported_value: a value of type bytes in external_subscr",
        ),
        ("precise_total_amount_cents", "much", "not_a_number: 'much' in precise_total_amount_cents"),
    ],
)
def test_a_problem_names_its_field(field: str, value: object, told: str) -> None:
    """A person need not guess which of the event's fields a row cannot fill."""
    assert (rendered(mapping(**{field: "{{ row.x }}"}), x=value).problem or "").startswith(told)
    assert problem("{{ row.x }}", x=float("nan")) == "not_a_number: 'NaN' in properties.p"
    assert problem("{{ row.x | plus: 1 }}", x="a").endswith(" in properties.p")


def test_a_refused_row_says_what_is_known() -> None:
    """A refusal carries code and subscription where they can be had, and nothing that could be sent."""
    event = rendered(mapping(code="{{ row.code }}", properties={"p": "{{ row.x }}"}), code="c", x=b"x")
    assert (event.code, event.external_subscription_id) == ("c", "sub")
    assert (event.body, event.transaction_id, event.timestamp_ms, event.properties) == (
        None,
        None,
        None,
        None,
    )
    event = rendered(mapping(code="{{ row.code.key }}"), code={})
    assert event.code is None


def test_fingerprints_tell_events_apart() -> None:
    """Whatever changes the body or the refused row changes the fingerprint, and nothing else does."""
    event = mapping(properties={"p": "{{ row.x }}"})
    prints = [rendered(event, x=x, unused=unused).fingerprint for x, unused in ((1, 1), (1, 2), (2, 1))]
    assert prints[0] == prints[1] != prints[2]
    refused = [rendered(event, x=x, unused=Unsupported("bytes")).fingerprint for x in (b"a", b"a", b"b")]
    assert refused[0] == refused[1] != refused[2]
    assert {len(each) for each in (*prints, *refused)} == {16}


def test_a_refusal_is_not_the_event_it_refuses() -> None:
    """The fingerprint of an event and that of its refusal differ, so that a mended row is seen."""
    inside = rendered(mapping(), at=NOON)
    outside = rendered(mapping(), at="2026-01-06")
    assert outside.problem is not None
    assert inside.fingerprint != outside.fingerprint


def test_every_reason_has_a_remedy() -> None:
    """No word is used that does not tell a person what to do."""
    assert set(REMEDIES) == set(Reason)
    assert str(Problem(Reason.NOT_A_NUMBER, "'nan'")) == "not_a_number: 'nan'"
