"""The sink: a Lago for benchmarks, which counts events and answers at once."""

import http.client
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from lago_pipeline.sandbox import SandboxConfig
from lago_pipeline_tests.sandbox.client import Client, connected, usage


@pytest.fixture
def sink() -> Iterator[Client]:
    """A sandbox that answers at once."""
    with connected(SandboxConfig(sink=0)) as client:
        yield client


def said(sink: Client, *parts: bytes) -> bytes:
    """Everything that the sandbox answers to bytes sent one part after another."""
    address = urlsplit(sink.sandbox.url)
    answer = b""
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as sent:
        sent.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            sent.sendall(part)
        while received := sent.recv(65_536):
            answer += received
    return answer


def test_events_are_counted_and_echoed_and_not_stored(sink: Client) -> None:
    """The answer names the events that were sent, in their order."""
    answer = sink.batch(usage("a"), usage("b"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert [event["transaction_id"] for event in answer.json()["events"]] == ["a", "b"]
    assert sink.event(**usage("c")).json()["event"]["transaction_id"] == "c"
    assert sink.stored() == []
    stats = sink.sandbox.stats()
    assert (stats["events_sunk"], stats["events_stored"]) == (3, 0)
    assert stats["requests"] == {"POST /events": {"200": 1}, "POST /events/batch": {"200": 1}}
    sink.sandbox.reset()
    assert sink.sandbox.stats()["events_sunk"] == 0


def test_everything_else_is_the_whole_sandbox(sink: Client) -> None:
    """On the same connection, before and after events."""
    for number in range(3):
        assert sink.get("/organizations").status_code == 200
        assert sink.batch(usage("a")).status_code == 200
        customer = {"customer": {"external_id": str(number)}}
        assert sink.post("/customers", customer).status_code == 200
        assert sink.get(f"/customers/{number}").json()["customer"]["external_id"] == str(number)
        assert sink.post("/events/estimate", {}).status_code == 404


def test_requests_may_come_in_pieces_or_together(sink: Client) -> None:
    """A request line cut in two, a body in three, two requests at once, and another one behind them."""
    head = b"POST /api/v1/events/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
    body = b'{"transaction_id": "a", "b":1}'
    last = b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = said(sink, head[:9], head[9:] + body[:10], body[10:20], body[20:] + head + body + last)
    assert answer.count(body) == 2
    assert answer.endswith(b'{"status":"ok"}')
    assert sink.sandbox.stats()["events_sunk"] == 2


def test_a_client_may_ask_to_close(sink: Client) -> None:
    """The connection ends with the answer."""
    head = b"POST /api/v1/events HTTP/1.1\r\nconnection: Close\r\ncontent-length: 2\r\n\r\n"
    assert said(sink, head + b"{}").endswith(b"\r\nconnection: close\r\n\r\n{}")


def test_a_body_without_a_length_is_refused(sink: Client) -> None:
    """Nothing is lost without a word."""
    answer = said(sink, b"POST /api/v1/events HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 411 Length Required\r\n")


def test_answers_may_wait() -> None:
    """As if Lago were far away; requests on other connections do not wait for it."""
    with connected(SandboxConfig(sink=0.5)) as sink:
        address = urlsplit(sink.sandbox.url)
        connections = [http.client.HTTPConnection(str(address.netloc), timeout=10) for _ in range(8)]
        for connection in connections:
            connection.request("POST", "/api/v1/events", b'{"event": {"transaction_id": "a"}}')
        begin = time.monotonic()
        assert sink.batch(usage("a")).elapsed.total_seconds() >= 0.5
        for connection in connections:
            assert connection.getresponse().status == 200
            connection.close()
        assert time.monotonic() - begin < 0.5 * len(connections)
        assert sink.sandbox.stats()["events_sunk"] == 9
