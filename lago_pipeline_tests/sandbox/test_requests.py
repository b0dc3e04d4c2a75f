"""What happens before an event is looked at: JSON, key, path, root (LAGO.md 1.4 and 1.6)."""

import socket
from urllib.parse import urlsplit

import pytest
import requests

from lago_pipeline_tests.sandbox.client import Client

UNAUTHORIZED = {"status": 401, "error": "Unauthorized"}
NOT_FOUND = {"status": 404, "error": "Not Found", "code": "resource_not_found"}
CRASHED = {"status": 500, "error": "Internal Server Error"}


def missing(root: str) -> dict[str, object]:
    """Lago's answer to a body without its root key."""
    message = f"BadRequest: param is missing or the value is empty or invalid: {root}"
    return {"status": 400, "error": message}


def refused(details: object) -> dict[str, object]:
    """Lago's answer to events that are not valid."""
    return {
        "status": 422,
        "error": "Unprocessable Entity",
        "code": "validation_errors",
        "error_details": details,
    }


def raw(lago: Client, body: bytes, path: str = "/events", **headers: str) -> requests.Response:
    """POST bytes as they are."""
    return lago.call("POST", path, data=body, headers={"Content-Type": "application/json"} | headers)


@pytest.mark.parametrize("path", ["/events", "/events/batch", "/plans"])
@pytest.mark.parametrize("body", [b"{", b'{"event": NaN}', b"\xff", b'{"a": "\\ud800"}', b"[" * 5000])
def test_malformed_json_is_400_even_with_a_bad_key(lago: Client, path: str, body: bytes) -> None:
    """JSON is parsed before the key is looked at."""
    answer = raw(lago, body, path, Authorization="Bearer wrong")
    assert (answer.status_code, answer.json()) == (400, {"status": 400, "error": "Bad Request"})


@pytest.mark.parametrize("header", ["Bearer wrong", "{key}", "", "Bearer", "Bearer x {key}"])
def test_a_key_that_is_not_the_second_word_is_401(lago: Client, header: str) -> None:
    """The key is checked before the body's shape."""
    authorization = header.format(key=lago.sandbox.api_key)
    answer = raw(lago, b"{}", Authorization=authorization)
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)


@pytest.mark.parametrize("header", ["Key {key}", "bearer {key} x", "Bearer  {key}"])
def test_any_scheme_word_will_do(lago: Client, header: str) -> None:
    """Lago takes the second word, whatever the first is."""
    authorization = header.format(key=lago.sandbox.api_key)
    assert lago.call("GET", "/organizations", headers={"Authorization": authorization}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/events"),
        ("DELETE", "/events/tx"),
        ("POST", "/event"),
        ("GET", "/nothing"),
        ("GET", "/events/a/b"),
        ("GET", "/plans/"),
        ("POST", "/events/batch/x"),
    ],
)
def test_a_wrong_path_or_verb_is_404(lago: Client, method: str, path: str) -> None:
    """Lago's catch-all route knows no 405."""
    answer = lago.call(method, path)
    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_a_body_that_is_not_called_json_is_not_parsed(lago: Client) -> None:
    """With text/plain the root is missing, however good the JSON."""
    body = b'{"event": {"transaction_id": "tx", "code": "storage"}}'
    assert raw(lago, body, **{"Content-Type": "text/plain"}).json() == missing("event")
    assert raw(lago, body, **{"Content-Type": "application/json; charset=utf-8"}).status_code == 200


def test_request_ids_are_echoed_or_made(lago: Client) -> None:
    """Rails answers with the X-Request-Id it was given, cleaned, or with its own."""
    given = lago.call("GET", "/organizations", headers={"X-Request-Id": "run-1/x"})
    assert given.headers["x-request-id"] == "run-1x"
    assert len(lago.get("/organizations").headers["x-request-id"]) == 36


def test_a_client_that_hangs_up_leaves_no_trace(lago: Client) -> None:
    """Half a body is not processed, and the sandbox goes on."""
    address = urlsplit(lago.sandbox.url)
    with socket.create_connection((address.hostname, address.port)) as half:
        half.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
    for _ in range(1000):
        assert lago.get("/organizations").status_code == 200
        if "499" in str(lago.sandbox.stats()["requests"]):
            break
    else:
        pytest.fail("the sandbox did not notice")
    assert lago.stored() == []
