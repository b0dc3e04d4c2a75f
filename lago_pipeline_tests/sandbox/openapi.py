"""Lago's own OpenAPI document, to hold the sandbox's answers against.

`data/lago-openapi.json` is the part of https://github.com/getlago/lago-openapi (spec 1.51.0 at 120da121) that
the sandbox answers, without descriptions and examples. Where Lago's server and its document disagree the
server wins (LAGO.md): what the document is too strict about is listed here, with the place in the server.
"""

import copy
import json
import re
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import requests
from jsonschema import Draft202012Validator, FormatChecker

_FORMATS = FormatChecker(("uuid", "date"))

# Serializers print what a model holds, and that may be nothing.
_NULLABLE = {
    "EventObject": ("external_subscription_id",),  # v1/event_serializer.rb; its presence is not validated
    "PlanObject": ("invoice_display_name", "description", "trial_period"),  # v1/plan_serializer.rb
    "BillableMetricObject": ("expression",),  # v1/billable_metric_serializer.rb
    "CustomerBillingConfiguration": ("invoice_grace_period",),  # v1/customer_serializer.rb
    "SubscriptionObject": ("on_termination_credit_note",),  # v1/subscription_serializer.rb
}
# ClickHouse's single route validates no presence (events/create_service.rb).
_NULLABLE_ON_CLICKHOUSE = {"EventObject": ("transaction_id", "code")}


def _is_moment(value: object) -> bool:
    """Lago's years go beyond Python's and RFC 3339's: a timestamp in milliseconds is one of year 54295."""
    if isinstance(value, str):
        year, dash, rest = value.lstrip("-").partition("-")
        leap = f"{2000 + int(year) % 400:04}"
        return dash == "-" and datetime.fromisoformat(f"{leap}-{rest}").tzinfo is not None
    return True


_FORMATS.checks("date-time", raises=ValueError)(_is_moment)


@cache
def document() -> dict[str, Any]:
    """The document as it is kept."""
    text = (files("lago_pipeline_tests.sandbox") / "data" / "lago-openapi.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    found["paths"]["/organizations"]["get"] = found["paths"]["/organizations"]["put"]  # not in the document
    return found


@cache
def _as_the_server_answers(store: str) -> dict[str, Any]:
    """The document without what the server does not keep."""
    found = copy.deepcopy(document())
    schemas = found["components"]["schemas"]
    for looser in (_NULLABLE, _NULLABLE_ON_CLICKHOUSE if store == "clickhouse" else {}):
        for name, fields in looser.items():
            for field in fields:
                was = schemas[name]["properties"][field]
                schemas[name]["properties"][field] = {"anyOf": [was, {"type": "null"}]}
    # Any JSON is kept, and the document's own integers are refused as numbers too (v1/event_serializer.rb).
    schemas["EventObject"]["properties"]["properties"] = {"type": "object"}
    # A failed expression is told as one text (concerns/api_errors.rb).
    schemas["ApiErrorUnprocessableEntity"]["properties"]["error_details"] = {"type": ["object", "string"]}
    return found


def operation(method: str, path: str) -> dict[str, Any] | None:
    """The operation that a request is, by its path after /api/v1; exact paths come before templates."""
    paths = document()["paths"]
    for template in sorted(paths, key=lambda name: "{" in name):
        fits = re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        if fits and method.lower() in paths[template]:
            found: dict[str, Any] = paths[template][method.lower()]
            return found
    return None


@cache
def _validator(store: str, pointer: str) -> Draft202012Validator:
    schema = {"$ref": pointer, "components": _as_the_server_answers(store)["components"]}
    return Draft202012Validator(schema, format_checker=_FORMATS)


def problems(method: str, path: str, answer: requests.Response, store: str = "postgres") -> list[str]:
    """What of an answer the document does not allow; of an error that it does not tell of, only its shape."""
    told = (operation(method, path) or {"responses": {}})["responses"].get(str(answer.status_code))
    if told is None:
        is_error = answer.json().keys() >= {"status", "error"}
        return [] if is_error else [f"{method} {path} {answer.status_code} is not in the document"]
    if "$ref" in told:
        told = document()["components"]["responses"][told["$ref"].rpartition("/")[2]]
    pointer = told["content"]["application/json"]["schema"]["$ref"]
    errors = _validator(store, pointer).iter_errors(answer.json())
    return [f"{error.json_path}: {error.message}" for error in errors]
