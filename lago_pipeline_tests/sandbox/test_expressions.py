"""Metric expressions: Lago's grammar, and what they do to events (LAGO.md 1.5, 1.6 and 5)."""

import pytest

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_requests import CRASHED, refused

MISSING = "expression_evaluation_failed: Variable: b not found"


@pytest.fixture
def computed(either: Client) -> Client:
    """A Lago with a metric whose `gb` is the sum of a and b."""
    answer = either.post(
        "/billable_metrics", {"billable_metric": metric("event.properties.a + event.properties.b")}
    )
    assert answer.status_code == 200
    return either


def metric(expression: str) -> dict[str, object]:
    """A metric with an expression."""
    return {
        "name": "Storage",
        "code": "storage",
        "aggregation_type": "sum_agg",
        "field_name": "gb",
        "expression": expression,
    }


def test_the_result_overwrites_the_field_as_text(computed: Client) -> None:
    """The answer and the store hold the computed value."""
    event = usage(properties={"a": "1", "b": 2, "gb": "9"})
    kept = {"a": "1", "b": 2, "gb": "3.0"}
    assert computed.event(**event).json()["event"]["properties"] == kept
    assert computed.sandbox.events()[0]["properties"] == kept


def test_a_missing_variable_is_told_in_a_string(computed: Client) -> None:
    """The single route's details are no object, and the batch's entry is a string too."""
    event = usage(properties={"a": "1"})
    assert computed.event(**event).json() == refused(MISSING)
    good = usage("good", properties={"a": 1, "b": 1})
    assert computed.batch(good, event).json() == refused({"1": MISSING})
    assert computed.stored() == []


def test_expressions_come_between_timestamp_and_presence(computed: Client) -> None:
    """Single: the first problem wins. Batch: presence overwrites the expression's problem."""
    bare = {"code": "storage", "external_subscription_id": "sub"}
    assert computed.event(**bare, timestamp="bad").json() == refused({"timestamp": ["invalid_format"]})
    assert computed.event(**bare).json() == refused(MISSING.replace(" b ", " a "))
    details = {"transaction_id": ["value_is_mandatory"]}
    assert computed.batch(bare).json() == refused({"0": details})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", "7.0"),
        ("(1 + 2) * 3", "9.0"),
        ("10 - 4 - 3", "3.0"),
        ("-2 * -3", "6.0"),
        ("7 / 2", "3.5"),
        ("ceil(1.2)", "2.0"),
        ("floor(event.properties.n)", "-2.0"),
        ("FLOOR(12.351, 1)", "12.3"),
        ("round(12.345, 2)", "12.35"),
        ("Round(1250, -2)", "1300.0"),
        ("concat(event.properties.text, '-', 1.50)", "eu-1.50"),
        ("concat(event.code, event.timestamp)", "storage5"),
        ("least(3, event.properties.n, 2)", "-1.5"),
        ("greatest(3, 4) + 0.10", "4.1"),
        ("event.properties.text", "eu"),
        ("'it is'", "it is"),
    ],
)
def test_expressions_evaluate(lago: Client, expression: str, value: str) -> None:
    """Arithmetic with precedence, rounding, text, and numbers in text."""
    event = {"code": "storage", "timestamp": "5.9", "properties": {"n": "-1.5", "text": "eu"}}
    body = {"expression": expression, "event": event}
    answer = lago.post("/billable_metrics/evaluate_expression", body)
    assert answer.json() == {"expression_result": {"value": value}}


@pytest.mark.parametrize(
    "expression",
    [
        "1 +",
        "",
        "nope(1)",
        "(1",
        "event.other",
        "1 2",
        "round(1, 2, 3)",
        "ceil()",
        "cEiL(1)",
        "1 $ 2",
        "- - 1",
    ],
)
def test_what_is_no_expression_is_refused(lago: Client, expression: str) -> None:
    """Neither a metric nor a dry run takes it."""
    details = {"expression": ["invalid_expression"]}
    body = {"expression": expression, "event": {"code": "storage"}}
    assert lago.post("/billable_metrics/evaluate_expression", body).json() == refused(details)
    if expression:
        assert lago.post("/billable_metrics", {"billable_metric": metric(expression)}).json() == refused(
            details
        )


@pytest.mark.parametrize("expression", ["event.properties.text + 1", "-event.code", "ceil('x')"])
def test_text_is_no_number(lago: Client, expression: str) -> None:
    """Arithmetic expects decimals."""
    lago.post("/billable_metrics", {"billable_metric": metric(expression)})
    answer = lago.event(**usage(properties={"text": "eu"}))
    assert answer.json() == refused("expression_evaluation_failed: Expected a decimal")


def test_a_division_by_zero_crashes(lago: Client) -> None:
    """Lago's library panics."""
    lago.post("/billable_metrics", {"billable_metric": metric("1 / event.properties.n")})
    assert lago.event(**usage(properties={"n": 0})).json() == CRASHED
