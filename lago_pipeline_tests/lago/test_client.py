"""What goes over the wire, and what comes of answers that no Lago gives."""

import json
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lago_pipeline import __version__
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.lago.answers import Meaning
from lago_pipeline.lago.client import LagoClient, LagoUnavailable
from lago_pipeline_tests.lago.odd_server import API_KEY, OddServer, Reply

HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/json"}
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def json_reply(status: int, document: object) -> Reply:
    """Lago's way to answer."""
    return Reply(status, json.dumps(document).encode())


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_a_batch_carries_the_headers_that_lago_needs(odd: OddServer, client: LagoClient) -> None:
    """Key, JSON both ways, who we are, and a fresh request id (LAGO.md section 9)."""
    client.post_events([b'{"a":1}', b'{"b":"\xc3\xa9"}'])
    client.post_events([b"{}"])
    first, second = odd.asked
    assert (first.method, first.path) == ("POST", "/api/v1/events/batch")
    assert json.loads(first.body) == {"events": [{"a": 1}, {"b": "é"}]}
    assert first.headers["Authorization"] == f"Bearer {API_KEY}"
    assert first.headers["Content-Type"] == first.headers["Accept"] == "application/json"
    assert first.headers["User-Agent"] == f"lago-pipeline/{__version__}"
    ids = {asked.headers["X-Request-Id"] for asked in (first, second)}
    assert len(ids) == 2
    assert all(_UUID.fullmatch(request_id) for request_id in ids)


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (Reply(200, b"", {}), Meaning.ACCEPTED),
        (Reply(200, b"<html>Welcome</html>", HTML), Meaning.UNCERTAIN),
        (Reply(200, b'{"events":[{"lago_id":', JSON), Meaning.UNCERTAIN),
        (Reply(200, b'{"events":[{"lago_id":1}]}', JSON, cut=True), Meaning.UNCERTAIN),
        (Reply(200, b'{"events":[{"lago_id":1}]}', JSON, stall=True), Meaning.UNCERTAIN),
        (Reply(200, b"not gzip at all", {"Content-Encoding": "gzip"}), Meaning.UNCERTAIN),
        (Reply(502, b"<html>Bad gateway</html>", HTML), Meaning.UNCERTAIN),
        (Reply(302, b"", {"Location": "/login"}), Meaning.STOP),
        (Reply(422, b"", HTML), Meaning.REFUSED),
    ],
)
def test_no_answer_to_a_batch_is_an_exception(
    odd: OddServer, client: LagoClient, reply: Reply, meaning: Meaning
) -> None:
    """However odd it is, it has a meaning; what is cut off, or too slow, is an unknown outcome."""
    odd.reply(reply)
    assert client.post_events([b"{}"]).meaning is meaning
    assert len(odd.asked) == 1


def test_a_redirect_is_never_followed_with_the_key(odd: OddServer, client: LagoClient) -> None:
    """Neither for a batch nor for a read; the target is not asked at all."""
    odd.reply(Reply(307, b"", {"Location": f"{odd.url}/elsewhere"}))
    assert "redirect" in client.post_events([b"{}"]).words
    with pytest.raises(ConfigError, match="redirect"):
        client.organization()
    assert [asked.path for asked in odd.asked] == ["/api/v1/events/batch", "/api/v1/organizations"]


def test_a_netrc_file_does_not_replace_the_key(
    odd: OddServer, client: LagoClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests would take a login for the host from there."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1\nlogin somebody\npassword else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    client.post_events([b"{}"])
    assert odd.asked[0].headers["Authorization"] == f"Bearer {API_KEY}"


def test_the_key_is_in_no_text(odd: OddServer, client: LagoClient) -> None:
    """Neither in the representation nor in any error or words."""
    texts = [repr(client), str(client.__dict__), str(vars(client))]
    for status in (302, 400, 401, 403, 404, 418, 429, 500, 503):
        odd.reply(json_reply(status, {"status": status, "seen": API_KEY}))
        texts.append(repr(client.post_events([b"{}"])))
        with pytest.raises((ConfigError, RetriableError)) as caught:
            client.organization()
        texts.append(repr(caught.value))
    with pytest.raises(ConfigError) as odd_key:
        LagoClient(odd.api_url, f"{API_KEY}\x00")
    assert not [text for text in [*texts, repr(odd_key.value)] if API_KEY in text]


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "schlüssel", "a\tb"])
def test_a_key_that_cannot_be_one_is_refused_at_once(key: str) -> None:
    """Before it fails in a header; the message does not show it."""
    with pytest.raises(ConfigError, match="API key"):
        LagoClient("http://127.0.0.1:1/api/v1", key)


def test_the_newline_at_the_end_of_a_key_file_does_not_matter(odd: OddServer) -> None:
    """Secrets are often mounted as files."""
    with LagoClient(odd.api_url, f"{API_KEY}\n") as client:
        client.post_events([b"{}"])
    assert odd.asked[0].headers["Authorization"] == f"Bearer {API_KEY}"


def test_connections_are_kept_and_reused(odd: OddServer, client: LagoClient) -> None:
    """Many requests of one thread share one connection."""
    for _ in range(20):
        client.post_events([b"{}"])
    assert (len(odd.asked), odd.connections) == (20, 1)


def test_new_threads_do_not_open_new_connections_for_ever(odd: OddServer, client: LagoClient) -> None:
    """Every partition of a long range brings threads of its own; 168 hours must not use up all files."""
    for _ in range(10):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: client.post_events([b"{}"]), range(8)))
    assert len(odd.asked) == 80
    assert odd.connections <= 4


def test_an_event_is_read_by_its_escaped_id(odd: OddServer, client: LagoClient) -> None:
    """Colons, slashes, spaces, percent signs and letters of any language."""
    odd.reply(json_reply(200, {"event": {"transaction_id": "found"}}))
    assert client.event("a:b/c d%2Fé?#") == {"transaction_id": "found"}
    assert odd.asked[0].path == "/api/v1/events/a%3Ab%2Fc%20d%252F%C3%A9%3F%23"


def test_only_lago_can_say_that_an_event_is_not_there(odd: OddServer, client: LagoClient) -> None:
    """Another 404, of a proxy or a wrong URL, must not pass for "never sent"."""
    odd.reply(json_reply(404, {"status": 404, "error": "Not Found", "code": "event_not_found"}))
    assert client.event("x") is None
    for reply in (Reply(404, b"<html>", HTML), json_reply(404, {"code": "resource_not_found"})):
        odd.reply(reply)
        with pytest.raises(ConfigError, match="404"):
            client.event("x")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>Welcome</html>", HTML),
        Reply(200, b"", {}),
        Reply(200, b"[]"),
        Reply(200, b'{"status":"ok"}'),
        Reply(200, b'{"organization":null,"event":null}'),
        Reply(200, b'{"organization":[],"event":[]}'),
        Reply(200, b'{"organization":{"name":"x"},"event":1}'),
    ],
)
def test_a_server_that_is_not_lago_is_named_as_such(odd: OddServer, client: LagoClient, reply: Reply) -> None:
    """A wrong URL is a line about the URL, and not a KeyError."""
    odd.reply(reply)
    for read in (client.organization, lambda: client.event("x")):
        with pytest.raises(ConfigError, match="LAGO_API_URL must end in /api/v1"):
            read()


def test_the_organization_is_read(odd: OddServer, client: LagoClient) -> None:
    """Servers before v1.47.0 do not name their events store: it is PostgreSQL."""
    odd.reply(json_reply(200, {"organization": {"lago_id": "o", "name": None}}))
    found = client.organization()
    assert (found.lago_id, found.name, found.events_store) == ("o", "", "postgres")


@pytest.mark.parametrize(
    ("reply", "meaning", "wait"),
    [
        (Reply(503), Meaning.UNCERTAIN, None),
        (Reply(429), Meaning.THROTTLED, None),
        (Reply(429, b"", {"X-RateLimit-Reset": "4"}), Meaning.THROTTLED, 4.0),
        (Reply(200, b'{"organization":{}}', JSON, stall=True), Meaning.UNCERTAIN, None),
    ],
)
def test_a_read_that_may_succeed_later_says_so(
    odd: OddServer, client: LagoClient, reply: Reply, meaning: Meaning, wait: float | None
) -> None:
    """With the wait that Lago asked for."""
    odd.reply(reply)
    with pytest.raises(
        LagoUnavailable, match=r"^Lago at http://127.* (answered|cannot be reached)"
    ) as caught:
        client.organization()
    assert (caught.value.answer.meaning, caught.value.answer.wait_seconds) == (meaning, wait)


def test_nobody_there_is_one_line() -> None:
    """For a read an error to try again later, for a batch an unknown outcome."""
    with LagoClient(f"http://127.0.0.1:{closed_port()}/api/v1", API_KEY) as client:
        with pytest.raises(
            RetriableError, match=r"^Lago at \S+ cannot be reached: nothing accepts connections there$"
        ):
            client.organization()
        answer = client.post_events([b"{}"])
    assert (answer.meaning, answer.words) == (Meaning.UNCERTAIN, "nothing accepts connections there")
