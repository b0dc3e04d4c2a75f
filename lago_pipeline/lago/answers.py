"""What an answer of Lago means for the events that were sent (LAGO.md 1.6 and section 9)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import orjson

_DUPLICATE = {"transaction_id": ["value_already_exist"]}
_MOST_WAIT_SECONDS = 3600.0
_EVENTS = re.compile(rb"\{\s*\"events\"\s*:")


class Meaning(StrEnum):
    """What the caller must do next."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    TOO_MANY = "too_many"
    THROTTLED = "throttled"
    UNCERTAIN = "uncertain"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Entry:
    """Lago's word on one event of a refused batch."""

    words: str
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests Lago's limit still allows, and in how many seconds it allows more."""

    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its meaning, and Lago's own words, shortened.

    `entries` are the refused events by their index; an empty mapping of a refusal says that Lago did not
    tell which. `wait_seconds` is how long a throttled caller was told to wait, where it was told; `budget`
    what Lago said of its limit, where it has one.
    """

    meaning: Meaning
    status: int | None
    words: str
    entries: Mapping[int, Entry] = field(default_factory=dict)
    wait_seconds: float | None = None
    budget: Budget | None = None


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """The meaning of an answer to a batch of events; names of headers are in lower case."""
    answer, budget = _meant(status, headers, body), _budget(headers)
    return replace(answer, budget=budget) if budget else answer


def _meant(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    if status == 200:
        return _success(headers, body)
    if status == 422:
        return _refusal(body)
    if status == 429:
        return Answer(Meaning.THROTTLED, status, "too many requests", wait_seconds=told_to_wait(headers))
    if status >= 500 or status == 408:
        return Answer(Meaning.UNCERTAIN, status, f"HTTP {status}")
    if status == 413:  # a proxy's: Lago itself knows no limit (LAGO.md 1.3)
        return Answer(Meaning.TOO_MANY, status, "the body is too large (413)")
    return Answer(Meaning.STOP, status, stop_words(status))


def lost(words: str) -> Answer:
    """No answer came: Lago may or may not hold the events."""
    return Answer(Meaning.UNCERTAIN, None, words)


def stop_words(status: int) -> str:
    """Why a status stops the run, and what to do, in one line."""
    if status == 401:
        return "Lago refused the API key (401): check LAGO_API_KEY"
    if status == 403:
        return "the API key lacks a permission (403): give it event write and read, and organization read"
    if status == 404:
        return "Lago has no API at this URL (404): LAGO_API_URL must end in /api/v1"
    if 300 <= status < 400:
        return f"Lago answered with a redirect ({status}), which is never followed: check LAGO_API_URL"
    return f"Lago did not understand the request ({status}): check LAGO_API_URL and the versions"


def _success(headers: Mapping[str, str], body: bytes) -> Answer:
    """The ingest service answers with an empty body; a page in HTML is not Lago's answer.

    Lago's is told by its ends: its text, every event once more, says nothing that we do not know.
    """
    text = body.strip()
    if text and not (_EVENTS.match(text) and text.endswith(b"}")):
        kind = headers.get("content-type", "no content type")
        return Answer(Meaning.UNCERTAIN, 200, f"HTTP 200 whose body is not Lago's ({kind})")
    return Answer(Meaning.ACCEPTED, 200, "accepted")


def _refusal(body: bytes) -> Answer:
    document = _json(body)
    details = document.get("error_details") if isinstance(document, dict) else None
    if not isinstance(details, dict):
        return Answer(Meaning.REFUSED, 422, _words(details))
    if details.get("events") == ["too_many_events"]:
        return Answer(Meaning.TOO_MANY, 422, "too_many_events")
    entries = {
        int(index): Entry(_words(words), words == _DUPLICATE)
        for index, words in details.items()
        if index.isdecimal()
    }
    return Answer(Meaning.REFUSED, 422, _words(details), entries)


def told_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds from X-RateLimit-Reset (Lago: seconds until reset) or Retry-After; the longer of the two.

    More than an hour is no wait but a moment, as other servers write it: it is ignored.
    """
    told = [headers.get(name, "").strip() for name in ("x-ratelimit-reset", "retry-after")]
    seconds = [float(text) for text in told if text.replace(".", "", 1).isdecimal()]
    return max((wait for wait in seconds if wait <= _MOST_WAIT_SECONDS), default=None)


def _budget(headers: Mapping[str, str]) -> Budget | None:
    """From X-RateLimit-Remaining and -Reset (Lago's cloud sends both with every answer)."""
    remaining = headers.get("x-ratelimit-remaining", "")
    reset_seconds = told_to_wait({"x-ratelimit-reset": headers.get("x-ratelimit-reset", "")})
    if not remaining.isdecimal() or reset_seconds is None:
        return None
    return Budget(int(remaining), reset_seconds)


def _words(details: object, limit: int = 200) -> str:
    """Lago's words on one line: `timestamp: invalid_format`."""
    if isinstance(details, dict):
        text = "; ".join(f"{name}: {_words(words)}" for name, words in details.items())
    elif isinstance(details, list):
        text = ", ".join(str(word) for word in details)
    else:
        text = "" if details is None else str(details)
    text = " ".join(text.split()) or "no reason given"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _json(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
