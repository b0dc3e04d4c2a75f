"""How a line of Lago's contract for events is written down as a case, and proven.

A case is named by the section and the words of LAGO.md that it proves.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.test_catalog import METRIC
from lago_pipeline_tests.sandbox.test_requests import CRASHED, refused

MANDATORY = ["value_is_mandatory"]
TAKEN = {"transaction_id": ["value_already_exist"]}
BAD_TIME = {"timestamp": ["invalid_format"]}
NO_VARIABLE = "expression_evaluation_failed: Variable: b not found"
POSTGRES = ("lago",)
CLICKHOUSE = ("clickhouse",)


@dataclass(frozen=True)
class Post:
    """A POST below /api/v1: JSON of an object, or bytes as they are."""

    path: str
    body: object
    headers: Mapping[str, str] = field(default_factory=dict)

    def to(self, lago: Client) -> requests.Response:
        """Send it."""
        if isinstance(self.body, bytes):
            headers = {"Content-Type": "application/json"} | dict(self.headers)
            return lago.call("POST", self.path, data=self.body, headers=headers)
        return lago.call("POST", self.path, json=self.body, headers=dict(self.headers))


COMPUTED = Post(
    "/billable_metrics",
    {
        "billable_metric": METRIC
        | {"code": "computed", "expression": "event.properties.a + event.properties.b"}
    },
)
"""Makes a metric whose `gb` is a + b, under the code `computed`."""


def one(**fields: object) -> Post:
    """POST /events with an event that is fine but for these fields."""
    return Post("/events", {"event": usage(**fields)})


def bare(**fields: object) -> Post:
    """POST /events with these fields and no others."""
    return Post("/events", {"event": fields})


def many(*events: object) -> Post:
    """POST /events/batch."""
    return Post("/events/batch", {"events": events})


@dataclass(frozen=True)
class Case:
    """One line of the contract.

    `body` is the whole answer, `event` are fields of the first event in it; `stored` are the transaction
    ids that the store holds in the end, those of `before` included. `stores` names fixtures.
    """

    line: str
    post: Post
    status: int = 200
    body: object = None
    event: Mapping[str, object] | None = None
    stored: Sequence[str] | None = None
    stores: Sequence[str] = ("lago", "clickhouse")
    before: Sequence[Post] = ()
    faults: Sequence[Mapping[str, object]] = ()


def invalid(line: str, post: Post, details: object, **options: Any) -> Case:
    """A line about a refusal with 422, of which nothing is stored."""
    return Case(line, post, 422, refused(details), **({"stored": []} | options))


def crash(line: str, post: Post, **options: Any) -> Case:
    """A line about an error that nobody rescues, of which nothing is stored."""
    return Case(line, post, 500, CRASHED, **({"stored": []} | options))


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Run a test with each case on each of its stores."""
    named = [
        pytest.param(store, case, id=f"{case.line} ({store})") for case in cases for store in case.stores
    ]
    return pytest.mark.parametrize(("store", "case"), named)


def prove(case: Case, lago: Client) -> None:
    """The request is answered as the line says."""
    for post in case.before:
        assert post.to(lago).status_code == 200
    lago.sandbox.set_faults(case.faults)
    answer = case.post.to(lago)
    assert answer.status_code == case.status, answer.text
    if isinstance(case.body, bytes):
        assert answer.content == case.body
    elif case.body is not None:
        assert answer.json() == case.body, answer.text
    if case.event is not None:
        event = answer.json().get("event") or answer.json()["events"][0]
        assert {name: event[name] for name in case.event} == dict(case.event), event
    if case.stored is not None:
        assert lago.stored() == list(case.stored)
