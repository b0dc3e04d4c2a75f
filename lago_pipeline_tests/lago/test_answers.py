"""What each answer of Lago means for the events that were sent (LAGO.md 1.6 and section 9)."""

import json

import pytest

from lago_pipeline.lago.answers import Answer, Budget, Entry, Meaning, lost, read_answer

DUPLICATE = {"transaction_id": ["value_already_exist"]}


def refusal(details: object) -> Answer:
    """The meaning of a 422 with these details."""
    body = {"status": 422, "error": "Unprocessable Entity", "code": "validation_errors"}
    return read_answer(422, {}, json.dumps({**body, "error_details": details}).encode())


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, Meaning.ACCEPTED), (202, Meaning.STOP), (301, Meaning.STOP), (302, Meaning.STOP),
        (400, Meaning.STOP), (401, Meaning.STOP), (403, Meaning.STOP), (404, Meaning.STOP),
        (405, Meaning.STOP), (408, Meaning.UNCERTAIN), (413, Meaning.TOO_MANY), (422, Meaning.REFUSED),
        (429, Meaning.THROTTLED), (500, Meaning.UNCERTAIN), (502, Meaning.UNCERTAIN),
        (503, Meaning.UNCERTAIN), (504, Meaning.UNCERTAIN), (599, Meaning.UNCERTAIN),
    ],
)  # fmt: skip
def test_every_status_has_one_meaning(status: int, meaning: Meaning) -> None:
    """Only 200 says accepted; what may pass is tried again; what a person must mend stops the run."""
    answer = read_answer(status, {}, b'{"events":[]}')
    assert (answer.meaning, answer.status) == (meaning, status)
    assert answer.words
    assert "\n" not in answer.words


@pytest.mark.parametrize("body", [b"", b" \r\n", b'{"events":[]}', b' { "events" : [{}]}\n'])
def test_a_200_with_or_without_a_body_is_a_yes(body: bytes) -> None:
    """The ingest service answers with an empty body."""
    assert read_answer(200, {}, body).meaning is Meaning.ACCEPTED


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"events":[{"lago_', b"[]", b"null", b'"ok"', b'{"status":503}', b"\xff\xfe{}"]
)
def test_a_200_that_is_not_lagos_is_no_yes(body: bytes) -> None:
    """A proxy's page, or half an answer, leaves the outcome unknown, and the words say what came."""
    answer = read_answer(200, {"content-type": "text/html"}, body)
    assert answer.meaning is Meaning.UNCERTAIN
    assert "text/html" in answer.words


def test_a_lost_answer_is_an_unknown_outcome() -> None:
    """Lago may or may not hold the events."""
    assert lost("no answer in time") == Answer(Meaning.UNCERTAIN, None, "no answer in time")


def test_a_refusal_names_events_by_index_in_lagos_words() -> None:
    """Only exactly `value_already_exist` of the transaction id is a duplicate."""
    answer = refusal(
        {
            "0": DUPLICATE,
            "1": {"timestamp": ["invalid_format"]},
            "2": "expression_evaluation_failed: Variable: b not found",
            "3": {"transaction_id": ["value_already_exist"], "code": ["value_is_mandatory"]},
            "17": {"transaction_id": ["value_is_mandatory"]},
        }
    )
    assert answer.meaning is Meaning.REFUSED
    assert answer.entries == {
        0: Entry("transaction_id: value_already_exist", is_duplicate=True),
        1: Entry("timestamp: invalid_format", is_duplicate=False),
        2: Entry("expression_evaluation_failed: Variable: b not found", is_duplicate=False),
        3: Entry("transaction_id: value_already_exist; code: value_is_mandatory", is_duplicate=False),
        17: Entry("transaction_id: value_is_mandatory", is_duplicate=False),
    }


@pytest.mark.parametrize(
    "details",
    [None, "expression_evaluation_failed", [], ["x"], 7, {"events": ["no_events"]}, {"-1": DUPLICATE}],
)
def test_a_refusal_without_a_map_names_nobody(details: object) -> None:
    """The caller must find the event by itself."""
    answer = refusal(details)
    assert (answer.meaning, dict(answer.entries)) == (Meaning.REFUSED, {})
    assert answer.words


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b'{"error_details'])
def test_a_422_that_is_not_lagos_is_still_a_refusal(body: bytes) -> None:
    """It names nobody, and says that no reason was given."""
    assert read_answer(422, {}, body) == Answer(Meaning.REFUSED, 422, "no reason given")


def test_too_many_events_is_a_meaning_of_its_own() -> None:
    """The server's limit may be set below 100."""
    assert refusal({"events": ["too_many_events"]}).meaning is Meaning.TOO_MANY


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"X-RateLimit-Reset": "7"}, 7.0),
        ({"X-RateLimit-Reset": " 7 "}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"X-RateLimit-Reset": "2", "Retry-After": "3"}, 3.0),
        ({"X-RateLimit-Reset": "45"}, 45.0),
        ({"X-RateLimit-Reset": "1767225600"}, None),
        ({"X-RateLimit-Reset": "1767225600", "Retry-After": "3"}, 3.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "."}, None),
        ({"Retry-After": "nan"}, None),
    ],
)
def test_a_throttled_answer_says_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    """The longer of the two headers, without a cap at 20 s; an epoch or a date is no wait."""
    answer = read_answer(429, {name.lower(): value for name, value in headers.items()}, b"")
    assert (answer.meaning, answer.wait_seconds) == (Meaning.THROTTLED, seconds)


def test_lagos_words_are_one_short_line() -> None:
    """Whatever it answers ends up in logs and in the ledger."""
    long = refusal({"0": "first\nsecond " + "x" * 1000}).entries[0].words
    assert (len(long), long[:13], long[-1]) == (200, "first second ", "…")


@pytest.mark.parametrize(
    ("headers", "budget"),
    [
        (
            {"x-ratelimit-limit": "500", "x-ratelimit-remaining": "42", "x-ratelimit-reset": "1"},
            Budget(42, 1.0),
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0.5"}, Budget(0, 0.5)),
        ({"x-ratelimit-remaining": "42"}, None),
        ({"x-ratelimit-remaining": "many", "x-ratelimit-reset": "1"}, None),
        ({"x-ratelimit-remaining": "42", "x-ratelimit-reset": "1767225600"}, None),
        ({}, None),
    ],
)
def test_every_answer_may_tell_what_is_still_allowed(headers: dict[str, str], budget: Budget | None) -> None:
    """Lago's cloud says so each time, not only with a 429."""
    assert read_answer(200, headers, b"").budget == budget
    assert read_answer(422, headers, b"").budget == budget
