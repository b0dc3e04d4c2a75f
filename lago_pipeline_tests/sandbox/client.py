"""A plain HTTP client of a sandbox, with nothing of the package's own client in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline.sandbox.server import RunningSandbox, running
from lago_pipeline_tests.sandbox import openapi


class Client:
    """One keep-alive session with the right key and headers."""

    def __init__(self, sandbox: RunningSandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.headers.update(
            {"Authorization": f"Bearer {sandbox.api_key}", "Accept": "application/json"}
        )

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Call a path below /api/v1; what Lago itself answers must agree with its OpenAPI document."""
        answer = self.session.request(method, f"{self.sandbox.api_url}{path}", timeout=10, **options)
        is_lagos = not self.sandbox.sandbox.faults and self.sandbox.sandbox.sink is None
        if is_lagos and answer.content:
            problems = openapi.problems(method, path, answer, self.sandbox.sandbox.store.kind)
            assert not problems, problems
        return answer

    def get(self, path: str, **query: Any) -> requests.Response:
        """GET a path below /api/v1."""
        return self.call("GET", path, params=query)

    def post(self, path: str, body: object) -> requests.Response:
        """POST JSON to a path below /api/v1."""
        return self.call("POST", path, json=body)

    def event(self, **fields: object) -> requests.Response:
        """POST one event."""
        return self.post("/events", {"event": fields})

    def batch(self, *events: Mapping[str, object]) -> requests.Response:
        """POST several events at once."""
        return self.post("/events/batch", {"events": events})

    def stored(self) -> list[str]:
        """The transaction ids in the store, in order of storage."""
        return [str(event["transaction_id"]) for event in self.sandbox.events()]


@contextmanager
def connected(config: SandboxConfig | None = None) -> Iterator[Client]:
    """Run a sandbox and talk to it."""
    with running(config) as sandbox:
        client = Client(sandbox)
        with client.session:
            yield client


def usage(transaction_id: object = "tx", **fields: object) -> dict[str, object]:
    """An event that every store accepts."""
    return {"transaction_id": transaction_id, "code": "storage", "external_subscription_id": "sub"} | fields
