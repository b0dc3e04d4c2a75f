"""Each kind of fault as a client meets it, and what the store holds afterwards."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import requests

from lago_pipeline_tests.sandbox.client import Client, usage
from lago_pipeline_tests.sandbox.contract import TAKEN
from lago_pipeline_tests.sandbox.test_requests import CRASHED, refused

DEADLINE = 10.0


def until_stored(lago: Client, *ids: str) -> None:
    """Wait until the store holds these events."""
    end = time.monotonic() + DEADLINE
    while lago.stored() != list(ids):
        assert time.monotonic() < end, lago.stored()
        time.sleep(0.005)


@contextmanager
def raw_batch(lago: Client, *ids: str) -> Iterator[socket.socket]:
    """POST a batch over a socket, for a look at the bytes of the answer."""
    request = requests.Request(
        "POST",
        f"{lago.sandbox.api_url}/events/batch",
        json={"events": [usage(name) for name in ids]},
        headers={"Authorization": f"Bearer {lago.sandbox.api_key}"},
    ).prepare()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    address = urlsplit(lago.sandbox.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=DEADLINE) as sent:
        body = request.body if isinstance(request.body, bytes) else b""
        sent.sendall(f"POST {request.path_url} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
        yield sent


def test_a_batch_with_duplicates_may_leave_the_others_stored(lago: Client) -> None:
    """Lago 1.32.4 to 1.38: the duplicates are named as ever, and a second try names them all."""
    lago.batch(usage("a"), usage("c"))
    lago.sandbox.set_faults([{"kind": "partial_store"}])
    batch = [usage(name) for name in "abcd"]
    assert lago.batch(*batch).json() == refused({"0": TAKEN, "2": TAKEN})
    assert lago.stored() == ["a", "c", "b", "d"]
    assert lago.batch(*batch).json() == refused(dict.fromkeys("0123", TAKEN))
    assert lago.batch(usage("e"), usage("bad", timestamp="x")).status_code == 422
    assert lago.stored() == ["a", "c", "b", "d"]  # validation comes before any storing


def test_changes_and_answers_add_up(lago: Client) -> None:
    """A partly stored batch may also lose its answer."""
    lago.event(**usage("a"))
    lago.sandbox.set_faults([{"kind": "partial_store"}, {"kind": "drop_after", "times": 1}])
    with pytest.raises(requests.ConnectionError):
        lago.batch(usage("a"), usage("b"))
    assert lago.stored() == ["a", "b"]


def test_a_refusal_may_lack_its_map(lago: Client) -> None:
    """The client knows only that something in the batch is wrong."""
    lago.sandbox.set_faults([{"kind": "hide_details"}])
    answer = lago.batch(usage("a"), usage("b", timestamp="x"))
    whole = refused({})
    del whole["error_details"]
    assert (answer.status_code, answer.json()) == (422, whole)
    assert lago.event(**usage("c")).json()["event"]["transaction_id"] == "c"
    assert lago.get("/events/c").status_code == 200


@pytest.mark.parametrize("details", ["expression_evaluation_failed: Variable: b not found", {"code": ["x"]}])
def test_chosen_events_are_refused_in_chosen_words(lago: Client, details: object) -> None:
    """A map of indexes in a batch, the words alone for one event; nothing is stored."""
    lago.sandbox.set_faults([{"kind": "refuse", "contains": "bad-", "details": details}])
    answer = lago.batch(usage("a"), usage("bad-1"), usage("b", properties={"n": "bad-2"}))
    assert (answer.status_code, answer.json()) == (422, refused({"1": details, "2": details}))
    assert lago.event(**usage("bad-1")).json() == refused(details)
    assert lago.stored() == []
    assert lago.batch(usage("a"), usage("b")).status_code == 200


def test_refusals_may_be_of_everything(lago: Client) -> None:
    """Without a marker every event is refused, in default words."""
    lago.sandbox.set_faults([{"kind": "refuse"}])
    reason = {"properties": ["value_is_invalid"]}
    assert lago.batch(usage("a"), usage("b")).json() == refused({"0": reason, "1": reason})


@pytest.mark.parametrize("marker", ["poison", "\\u0000", '"code":"toxic"'])
def test_chosen_events_poison_their_batch(clickhouse: Client, marker: str) -> None:
    """Every request with such an event is a 500, even where PostgreSQL's limits do not count."""
    clickhouse.sandbox.set_faults([{"kind": "status", "status": 500, "contains": marker}])
    event = usage("poison", code="toxic", properties={"a": "\0"})
    for _ in range(2):
        assert clickhouse.batch(usage("a"), event).json() == CRASHED
        assert clickhouse.event(**event).json() == CRASHED
    assert clickhouse.batch(usage("a")).status_code == 200


def test_large_batches_are_refused(lago: Client) -> None:
    """By Lago's words or by a proxy's 413, above a number of choice."""
    details = {"events": ["too_many_events"]}
    too_many = {"kind": "status", "status": 422, "details": details, "more_than": 2, "times": 1}
    lago.sandbox.set_faults([too_many, {"kind": "html", "status": 413, "more_than": 2}])
    batch = [usage(name) for name in "abc"]
    assert lago.batch(*batch).json() == refused(details)
    assert lago.batch(*batch).status_code == 413
    assert lago.batch(*batch[:2]).status_code == 200


@pytest.mark.parametrize(
    ("rule", "status", "body", "content_type"),
    [
        ({"kind": "empty"}, 400, b"", "text/html"),
        ({"kind": "empty", "status": 200}, 200, b"", "text/html"),
        ({"kind": "text"}, 200, b"OK", "text/plain"),
        ({"kind": "text", "body": "{half", "status": 203}, 203, b"{half", "text/plain"),
        ({"kind": "html", "status": 200}, 200, None, "text/html"),
    ],
)
@pytest.mark.parametrize("commit", [False, True])
def test_bodies_that_lago_never_sends(
    lago: Client, rule: dict[str, object], status: int, body: bytes | None, content_type: str, *, commit: bool
) -> None:
    """Whether something was processed is another question, answered by `commit`."""
    lago.sandbox.set_faults([rule | {"commit": commit}])
    answer = lago.batch(usage("a"))
    assert answer.status_code == status
    assert body is None or answer.content == body
    assert answer.headers["content-type"].startswith(content_type)
    assert lago.stored() == (["a"] if commit else [])


def test_a_redirect_leads_elsewhere(lago: Client) -> None:
    """302 unless another status is asked for; nothing is processed."""
    location = "http://127.0.0.2:9/api/v1/events"
    rule = {"kind": "redirect", "location": location}
    lago.sandbox.set_faults([rule | {"times": 1}, rule | {"status": 308}])
    for status in (302, 308):
        answer = lago.call("POST", "/events", json={"event": usage()}, allow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (status, location)
    assert lago.stored() == []


def test_an_answer_may_come_after_the_client_has_gone(lago: Client) -> None:
    """The event is stored at once, the answer waits."""
    lago.sandbox.set_faults([{"kind": "answer_late", "seconds": 0.3, "times": 2}])
    with pytest.raises(requests.ReadTimeout):
        lago.session.post(f"{lago.sandbox.api_url}/events", json={"event": usage("a")}, timeout=0.1)
    until_stored(lago, "a")
    assert lago.event(**usage("b")).elapsed.total_seconds() >= 0.3


def test_a_request_may_be_processed_after_the_client_has_gone(lago: Client) -> None:
    """Latency is Lago's queue: what was received is processed, whoever still waits for it."""
    lago.sandbox.set_faults([{"kind": "latency", "seconds": 0.6, "times": 1}])
    with pytest.raises(requests.ReadTimeout):
        lago.session.post(f"{lago.sandbox.api_url}/events", json={"event": usage("a")}, timeout=0.05)
    assert lago.stored() == []
    until_stored(lago, "a")


def test_an_answer_may_end_in_the_middle(lago: Client) -> None:
    """The whole length is announced, half of it comes, and the events are stored."""
    lago.sandbox.set_faults([{"kind": "cut_answer", "times": 2}])
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        lago.batch(usage("a"))
    with raw_batch(lago, "b") as sent:
        head, _, body = b"".join(iter(lambda: sent.recv(65_536), b"")).partition(b"\r\n\r\n")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert (head[:15], len(body)) == (b"HTTP/1.1 200 OK", announced // 2)
    assert lago.stored() == ["a", "b"]
    assert lago.batch(usage("c")).status_code == 200


def test_half_an_answer_may_look_whole(lago: Client) -> None:
    """It is no JSON, though its length is right."""
    lago.sandbox.set_faults([{"kind": "half_answer"}])
    answer = lago.batch(usage("a"))
    assert (answer.status_code, answer.content[:10]) == (200, b'{"events":')
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert lago.stored() == ["a"]


def test_an_answer_may_drip(lago: Client) -> None:
    """A byte at a time, so that no single read times out; nothing is missing in the end."""
    lago.sandbox.set_faults([{"kind": "drip", "seconds": 0.001, "times": 1}])
    started = time.monotonic()
    answer = lago.batch(usage("a"))
    assert answer.json()["events"][0]["transaction_id"] == "a"
    assert time.monotonic() - started >= 0.001 * len(answer.content)
    assert lago.batch(usage("b")).status_code == 200


def test_a_drip_ends_with_its_client(lago: Client) -> None:
    """The sandbox does not go on for hours."""
    lago.sandbox.set_faults([{"kind": "drip", "seconds": 1}])
    with raw_batch(lago, "a") as sent:
        while b"\r\n\r\n{" not in sent.recv(65_536, socket.MSG_PEEK):
            pass
    assert lago.stored() == ["a"]
    end = time.monotonic() + DEADLINE
    while lago.sandbox.stats()["requests"] != {"POST /events/batch": {"dropped": 1}}:
        assert time.monotonic() < end, lago.sandbox.stats()
        time.sleep(0.005)


def test_a_spoiled_refusal_is_a_refusal(lago: Client) -> None:
    """These kinds spoil whatever Lago says."""
    lago.event(**usage("a"))
    lago.sandbox.set_faults([{"kind": "answer_late", "seconds": 0.01}])
    answer = lago.batch(usage("a"))
    assert (answer.status_code, answer.json()) == (422, refused({"0": TAKEN}))
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert len(answer.headers["x-request-id"]) == 36
