"""What the demo creates in Lago, and how it fails."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from lago_pipeline.demo.catalog import METRICS, PLAN_CODE, require_loopback, seed_catalog
from lago_pipeline.demo.customers import CUSTOMERS, SUBSCRIPTIONS
from lago_pipeline.errors import ConfigError, LagoPipelineError, RetriableError
from lago_pipeline.sandbox.server import running

Call = Callable[..., Any]


@contextmanager
def answering(status: int, body: str, **headers: str) -> Iterator[str]:
    """Serve one fixed answer to everything; gives the API URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body.encode())), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/v1"
        server.shutdown()


@pytest.fixture
def lago() -> Iterator[tuple[str, str]]:
    """Run an empty Lago; gives its URL and key."""
    with running() as sandbox:
        yield sandbox.api_url, sandbox.api_key


@pytest.fixture
def call(lago: tuple[str, str]) -> Iterator[Call]:
    """Call that Lago; gives the JSON of an answer that must be 200."""
    url, key = lago
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {key}"

        def answer(method: str, path: str, body: object = None) -> Any:
            response = session.request(method, f"{url}/{path}", json=body, timeout=10)
            assert response.status_code == 200, response.text
            return response.json()

        yield answer


def test_metrics_and_plan(lago: tuple[str, str], call: Call) -> None:
    """Both metrics exist as the demo's events need them, and the plan charges for both."""
    seed_catalog(*lago)
    for wanted in METRICS:
        metric = call("GET", f"billable_metrics/{wanted['code']}")["billable_metric"]
        assert {name: metric[name] for name in wanted} == wanted
    charges = call("GET", f"plans/{PLAN_CODE}")["plan"]["charges"]
    assert {charge["billable_metric_code"]: charge["properties"]["amount"] for charge in charges} == {
        "api_requests": "0.0004",
        "active_seats": "9.00",
    }


def test_subscriptions_cover_the_warehouse(lago: tuple[str, str], call: Call) -> None:
    """Every subscription of the warehouse is active since 1 August 2026, under its own customer."""
    seed_catalog(*lago)
    found = {
        each["external_id"]: each for each in call("GET", "subscriptions?per_page=1000")["subscriptions"]
    }
    assert set(found) == {each.external_id for each in SUBSCRIPTIONS}
    for customer in CUSTOMERS:
        assert call("GET", f"customers/{customer.external_id}")["customer"]["name"] == customer.name
        for subscription in customer.subscriptions:
            there = found[subscription.external_id]
            assert there["external_customer_id"] == customer.external_id
            assert there["started_at"].startswith("2026-08-01T00:00:00")
            assert there["status"] == "active"


def test_twice_is_once(lago: tuple[str, str], call: Call) -> None:
    """Running it again changes nothing and creates nothing."""
    paths = ("billable_metrics", "plans", "customers", "subscriptions")
    seed_catalog(*lago)
    before = {
        path: {each["lago_id"] for each in call("GET", f"{path}?per_page=1000")[path]} for path in paths
    }
    seed_catalog(*lago)
    assert {
        path: {each["lago_id"] for each in call("GET", f"{path}?per_page=1000")[path]} for path in paths
    } == before


def test_a_row_of_the_demo_is_billed(lago: tuple[str, str], call: Call) -> None:
    """An event as the demo sends it counts requests times weight, exactly."""
    seed_catalog(*lago)
    event = {
        "transaction_id": "demo-1",
        "code": "api_requests",
        "external_subscription_id": "sub_tiny",
        "timestamp": "1788256800.125",
        "properties": {"requests": "3", "weight": "1.000000001"},
    }
    answer = call("POST", "events", {"event": event})
    assert answer["event"]["properties"]["units"] == "3.000000003"


def test_a_namesake_that_counts_otherwise_is_refused(lago: tuple[str, str], call: Call) -> None:
    """A metric of the same code with another aggregation is an error, not silently wrong bills."""
    metric = {"name": "x", "code": "api_requests", "aggregation_type": "count_agg", "recurring": False}
    call("POST", "billable_metrics", {"billable_metric": metric})
    with pytest.raises(ConfigError, match="api_requests has aggregation_type 'count_agg'"):
        seed_catalog(*lago)


def test_wrong_key(lago: tuple[str, str]) -> None:
    """A refused key is named as such, and not shown."""
    with pytest.raises(ConfigError, match="Lago answered 401 to POST billable_metrics") as caught:
        seed_catalog(lago[0], "secret-key")
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.getlago.com/api/v1",
        "http://localhost.example/api/v1",
        "http://127.0.0.1@api.getlago.com/api/v1",
        "http://10.0.0.1:3000/api/v1",
        "http://0.0.0.0:3000/api/v1",
        "localhost:3000/api/v1",
        "",
    ],
)
def test_other_hosts_are_refused(url: str) -> None:
    """Demo usage never goes to a Lago that is not on this computer."""
    with pytest.raises(ConfigError, match="must be on loopback"):
        seed_catalog(url, "key")


@pytest.mark.parametrize("host", ["localhost:3900", "127.0.0.1", "127.8.9.10:80", "[::1]:3000", "LOCALHOST"])
def test_loopback_hosts(host: str) -> None:
    """All names of this computer's own network are loopback."""
    require_loopback(f"http://{host}/api/v1")


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (
            500,
            "<html>oops</html>",
            RetriableError,
            "Lago answered 500 to POST billable_metrics of api_requests: no",
        ),
        (429, "", RetriableError, "429"),
        (403, '{"code":"write_action_not_allowed"}', ConfigError, "write_action_not_allowed"),
        (404, "", ConfigError, "404"),
        (422, '{"error_details":{"code":["value_is_mandatory"]}}', ConfigError, "value_is_mandatory"),
        (422, json.dumps({"error_details": "x" * 10_000}), ConfigError, "xxx"),
        (200, "welcome", ConfigError, "does LAGO_API_URL end in /api/v1"),
        (200, "[]", ConfigError, "does LAGO_API_URL end in /api/v1"),
    ],
)
def test_failures_are_one_line(status: int, body: str, error: type[LagoPipelineError], words: str) -> None:
    """Whatever Lago answers instead, the error is one short line of the right kind."""
    with answering(status, body) as url, pytest.raises(error, match=words) as caught:
        seed_catalog(url, "key")
    assert len(str(caught.value)) < 320
    assert "\n" not in str(caught.value)


def test_redirects_are_not_followed() -> None:
    """A redirect cannot lead the demo's usage or the key away from this computer."""
    with (
        answering(200, "{}") as elsewhere,
        answering(307, "", Location=elsewhere) as url,
        pytest.raises(ConfigError, match="307"),
    ):
        seed_catalog(url, "key")


def test_nobody_there() -> None:
    """When no Lago listens, the error says where, without the credentials of the URL."""
    with answering(200, "") as url:
        pass
    with pytest.raises(RetriableError, match=r"no Lago answers at 127\.0\.0\.1:\d+ \(ConnectionError\)"):
        seed_catalog(url.replace("//", "//user:pass@"), "key")
