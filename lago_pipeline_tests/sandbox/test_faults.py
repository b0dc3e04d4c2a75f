"""Faults on demand, the rate limit, and what the sandbox tells about itself."""

from collections.abc import Mapping
from typing import Any

import pytest
import requests

from lago_pipeline.sandbox import RateLimit, SandboxConfig
from lago_pipeline.sandbox.faults import FaultRule, InvalidFaultError
from lago_pipeline.sandbox.limiter import Limiter
from lago_pipeline_tests.sandbox.client import Client, connected, usage


def statuses(lago: Client, count: int) -> list[int]:
    """Post so many events, each with an id of its own."""
    return [lago.event(**usage(f"tx{number}")).status_code for number in range(count)]


def admin(lago: Client, method: str, path: str, **options: Any) -> Any:
    """Call the sandbox's own endpoints, without a key."""
    return requests.request(method, f"{lago.sandbox.url}/sandbox{path}", timeout=10, **options).json()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, {"status": 503, "error": "Service Unavailable"}),
        (401, {"status": 401, "error": "Unauthorized"}),
        (403, {"status": 403, "error": "Forbidden", "code": "write_action_not_allowed_for_event"}),
        (599, {"status": 599, "error": "Unknown"}),
    ],
)
def test_a_status_comes_with_lagos_body(lago: Client, status: int, body: dict[str, object]) -> None:
    """And nothing is processed."""
    lago.sandbox.set_faults([{"kind": "status", "status": status}])
    answer = lago.event(**usage())
    assert (answer.status_code, answer.json()) == (status, body)
    assert lago.stored() == []


def test_reads_lack_their_own_permission(lago: Client) -> None:
    """The code names mode and resource."""
    lago.sandbox.set_faults([{"kind": "status", "status": 403, "path": "/plans"}])
    assert lago.get("/plans").json()["code"] == "read_action_not_allowed_for_plan"


def test_a_proxy_answers_html(lago: Client) -> None:
    """502 unless another status is asked for."""
    lago.sandbox.set_faults([{"kind": "html", "times": 1}, {"kind": "html", "status": 504}])
    for status in (502, 504):
        answer = lago.event(**usage())
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert f"<h1>{status}</h1>" in answer.text


@pytest.mark.parametrize(
    ("rule", "headers"),
    [
        ({}, {"x-ratelimit-limit": "500", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}),
        ({"reset_seconds": 7}, {"x-ratelimit-reset": "7", "retry-after": None}),
        ({"retry_after": 0.5}, {"retry-after": "0.5", "x-ratelimit-reset": None}),
        ({"retry_after": 3, "reset_seconds": 2}, {"retry-after": "3", "x-ratelimit-reset": "2"}),
    ],
)
def test_a_throttled_answer_says_how_long(
    lago: Client, rule: dict[str, object], headers: Mapping[str, str | None]
) -> None:
    """X-RateLimit headers as Lago's cloud sends them, or Retry-After, or both."""
    lago.sandbox.set_faults([{"kind": "rate_limit"} | rule])
    answer = lago.event(**usage())
    assert answer.status_code == 429
    assert {name: answer.headers.get(name) for name in headers} == headers


def test_latency_waits_and_goes_on(lago: Client) -> None:
    """Latencies add up, and other faults still strike."""
    wait = {"kind": "latency", "seconds": 0.02}
    lago.sandbox.set_faults([wait, wait, {"kind": "status", "status": 500, "times": 1}])
    failed, fine = lago.event(**usage()), lago.event(**usage())
    assert (failed.status_code, fine.status_code) == (500, 200)
    assert min(failed.elapsed.total_seconds(), fine.elapsed.total_seconds()) >= 0.04


@pytest.mark.parametrize(("kind", "kept"), [("drop_before", []), ("drop_after", ["tx"])])
def test_a_connection_is_cut(lago: Client, kind: str, kept: list[str]) -> None:
    """The client sees the connection close without an answer; before or after the commit."""
    lago.sandbox.set_faults([{"kind": kind, "times": 1}])
    with pytest.raises(requests.ConnectionError):
        lago.event(**usage())
    assert lago.stored() == kept
    assert lago.event(**usage("next")).status_code == 200
    assert lago.sandbox.stats()["requests"] == {"POST /events": {"200": 1, "dropped": 1}}


def test_a_commit_may_look_like_a_crash(lago: Client) -> None:
    """The retry then finds its own event."""
    lago.sandbox.set_faults([{"kind": "commit_then_status", "path": "/events/batch", "times": 1}])
    assert lago.batch(usage()).status_code == 500
    assert lago.stored() == ["tx"]
    assert lago.batch(usage()).status_code == 422


def test_without_a_path_only_posted_events_suffer(lago: Client) -> None:
    """Reads go on."""
    lago.sandbox.set_faults([{"kind": "status", "status": 500}])
    assert lago.batch(usage()).status_code == 500
    assert lago.get("/events").status_code == 200
    assert lago.post("/customers", {"customer": {"external_id": "x"}}).status_code == 200


def test_path_and_method_choose_the_requests(lago: Client) -> None:
    """A path without a method means every method."""
    lago.sandbox.set_faults(
        [{"kind": "status", "status": 500, "path": "/events/"}, {"kind": "html", "method": "get"}]
    )
    assert (lago.event(**usage()).status_code, lago.batch(usage("b")).status_code) == (200, 500)
    assert (lago.get("/events/tx").status_code, lago.get("/events").status_code) == (500, 502)


def test_times_and_every_choose_the_moment(lago: Client) -> None:
    """Every second request, twice."""
    lago.sandbox.set_faults([{"kind": "status", "status": 503, "every": 2, "times": 2}])
    assert statuses(lago, 6) == [200, 503, 200, 503, 200, 200]


def test_probability_is_repeatable(lago: Client) -> None:
    """The same seed fails the same requests."""
    runs = []
    for seed in (1, 1, 2):
        lago.sandbox.reset()
        lago.sandbox.set_faults([FaultRule("status", status=503, probability=0.5, seed=seed)])
        runs.append(statuses(lago, 30))
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {200, 503}


def test_faults_can_be_set_over_http(lago: Client) -> None:
    """POST replaces them, GET lists them with counters, DELETE ends them."""
    admin(lago, "POST", "/faults", json=[{"kind": "html"}])
    admin(lago, "POST", "/faults", json={"faults": [{"kind": "status", "status": 503}]})
    assert statuses(lago, 2) == [503, 503]
    listed = admin(lago, "GET", "/faults")["faults"]
    assert [(rule["kind"], rule["seen"], rule["fired"]) for rule in listed] == [("status", 2, 2)]
    assert admin(lago, "DELETE", "/faults") == {"faults": []}
    assert statuses(lago, 1) == [200]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('[{"kind": "explode"}]', "explode"),
        ('[{"status": 500}]', "needs a kind"),
        ('[{"kind": "status", "statsu": 500}]', "statsu"),
        ('[{"kind": "status", "status": "500"}]', "status"),
        ('[{"kind": "status", "status": 42}]', "42"),
        ('[{"kind": "status", "every": 0}]', "every"),
        ('[{"kind": "latency", "seconds": null}]', "seconds"),
        ('[{"kind": "redirect"}]', "location"),
        ('[{"kind": "refuse", "details": 1}]', "details"),
        ('[{"kind": "status", "commit": 1}]', "commit"),
        ('[{"kind": "status", "more_than": true}]', "more_than"),
        ("[1]", "object"),
        ("{", "unexpected end"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(lago: Client, body: str, told: str) -> None:
    """The message names what is wrong, and the rules in force stay."""
    assert told in admin(lago, "POST", "/faults", data=body)["error"]
    assert admin(lago, "GET", "/faults") == {"faults": []}


def test_rules_are_checked_in_python_too() -> None:
    """A typo in a test is not silently no fault."""
    with pytest.raises(InvalidFaultError, match="every"):
        FaultRule("status", every=0)


def test_a_config_may_begin_with_faults() -> None:
    """Before the first request."""
    with connected(SandboxConfig(faults=(FaultRule("status", status=503, times=1),))) as lago:
        assert statuses(lago, 2) == [503, 200]
        lago.sandbox.set_faults([{"kind": "html"}])
        lago.sandbox.clear_faults()
        assert statuses(lago, 3)[-1] == 200


def test_a_rate_limit_is_announced_and_enforced() -> None:
    """Every API answer carries the three headers; beyond the limit it is 429."""
    with connected(SandboxConfig(rate_limit=RateLimit(2, per_seconds=3600))) as lago:
        answers = [lago.event(), lago.get("/organizations"), lago.event(**usage())]
        assert [answer.status_code for answer in answers] == [400, 200, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
        assert answers[2].headers["x-ratelimit-limit"] == "2"
        assert 3590 <= int(answers[2].headers["x-ratelimit-reset"]) <= 3600
        assert answers[2].json() == {"status": 429, "error": "Too Many Requests"}
        assert lago.stored() == []
        assert requests.get(f"{lago.sandbox.url}/ready", timeout=10).status_code == 200


def test_a_window_begins_anew() -> None:
    """The reset is the seconds until then, rounded up."""
    limiter = Limiter(RateLimit(1, per_seconds=2))
    allowed, headers = limiter.take("GET", "/plans", 100.0)
    assert (allowed, dict(headers)[b"x-ratelimit-reset"]) == (True, b"2")
    allowed, headers = limiter.take("POST", "/events", 101.5)
    assert (allowed, dict(headers)[b"x-ratelimit-reset"]) == (False, b"1")
    assert limiter.take("GET", "/plans", 102.0)[0] is True


def test_events_may_be_counted_apart() -> None:
    """As in Lago's cloud: what the headers of a read say is not what those of an event say."""
    limiter = Limiter(RateLimit(3, others=1))
    sent = ("POST", "/events/batch"), ("GET", "/events"), ("GET", "/plans"), ("POST", "/events")
    asked = [limiter.take(method, path, 0.0) for method, path in sent]
    assert [allowed for allowed, _ in asked] == [True, True, False, True]
    remaining = [dict(headers)[b"x-ratelimit-remaining"] for _, headers in asked]
    assert remaining == [b"2", b"0", b"0", b"1"]


def test_stats_count_requests_events_and_duplicates(lago: Client) -> None:
    """Ids in paths are folded together."""
    lago.batch(usage("a"), usage("b"))
    lago.batch(usage("a"), usage("b"))
    lago.event(**usage("a"))
    lago.get("/events/a")
    lago.get("/events/b")
    assert admin(lago, "GET", "/stats") == {
        "requests": {
            "GET /events/{id}": {"200": 2},
            "POST /events": {"422": 1},
            "POST /events/batch": {"200": 1, "422": 1},
        },
        "events_stored": 2,
        "events_counted": 2,
        "duplicates_refused": 3,
        "events_sunk": 0,
    }


def test_reset_forgets_events_and_if_asked_the_catalogue(lago: Client) -> None:
    """The organisation stays the same; event ids never come back."""
    lago.post("/customers", {"customer": {"external_id": "x"}})
    organization = lago.get("/organizations").json()
    first = lago.event(**usage()).json()["event"]["lago_id"]
    assert admin(lago, "POST", "/reset")["events_stored"] == 0
    assert lago.event(**usage()).json()["event"]["lago_id"] != first
    assert lago.get("/customers/x").status_code == 200
    admin(lago, "POST", "/reset?catalog=true")
    assert lago.get("/customers/x").status_code == 404
    assert lago.get("/organizations").json() == organization
