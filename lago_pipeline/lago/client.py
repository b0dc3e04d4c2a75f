"""The HTTP client: kept-alive connections, one a request in flight; the key in its header only."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import requests
from requests.auth import AuthBase

from lago_pipeline import __version__
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.lago.answers import Answer, lost, read_answer, stop_words
from lago_pipeline.organization import Organization
from lago_pipeline.settings import checked_api_url

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""A batch of 100 is one insert and 100 queued jobs on Lago's side (LAGO.md 9)."""


class LagoUnavailable(RetriableError):
    """Lago cannot be asked now; `answer` says as much, and how long to wait where it was told."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class _Key(AuthBase):
    """Sets the header itself, so that a .netrc file cannot replace it."""

    def __init__(self, api_key: str) -> None:
        self._header = f"Bearer {api_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class LagoClient:
    """Lago's API for one key.

    Time-outs are in seconds. Methods that read raise ConfigError for an answer that a person must mend and
    RetriableError when Lago cannot be reached; `post_events` never raises for an answer.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        timeout: tuple[float, float] = (CONNECT_SECONDS, ANSWER_SECONDS),
        session: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        self.api_url = checked_api_url(api_url)
        key = api_key.strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError("the Lago API key is empty or holds odd characters: copy it again from Lago")
        self._key = _Key(key)
        self._timeout = timeout
        self._new_session = session
        self._idle: deque[requests.Session] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LagoClient({self.api_url!r})"

    def close(self) -> None:
        """Close every connection that is not in use."""
        while self._idle:
            self._idle.pop().close()

    def post_events(self, bodies: Sequence[bytes]) -> Answer:
        """Send events, each already JSON, in one batch; a lost answer is an answer too."""
        body = b'{"events":[' + b",".join(bodies) + b"]}"
        try:
            answer = self._request("POST", "/events/batch", data=body)
        except requests.RequestException as error:
            return lost(_short(error))
        return read_answer(answer.status_code, answer.headers, answer.content)

    def event(self, transaction_id: str) -> dict[str, Any] | None:
        """The event that Lago holds under an id, or None."""
        return self._get(f"/events/{quote(transaction_id, safe='')}", "event", absent="event_not_found")

    def organization(self) -> Organization:
        """The organization behind the key."""
        found = self._get("/organizations", "organization") or {}
        if not found.get("lago_id"):
            raise self._not_lago()
        return Organization(
            lago_id=str(found["lago_id"]),
            name=str(found.get("name") or ""),
            events_store=str(found.get("events_store") or "postgres"),
        )

    def ask(self, method: str, path: str, data: bytes | None = None) -> requests.Response:
        """Lago's answer, whatever its status; raises LagoUnavailable where none comes."""
        try:
            return self._request(method, path, data)
        except requests.RequestException as error:
            words = f"Lago at {self.api_url} cannot be reached: {_short(error)}"
            raise LagoUnavailable(words, lost(words)) from None

    def _get(self, path: str, name: str, *, absent: str | None = None) -> dict[str, Any] | None:
        """What an answer holds under a name; None where Lago answers 404 with the code `absent`."""
        answer = self.ask("GET", path)
        status, document = answer.status_code, _document(answer)
        if status == 404 and absent is not None and document.get("code") == absent:
            return None
        if status in (408, 429) or status >= 500:
            words = f"Lago at {self.api_url} answered {status}: try again later"
            raise LagoUnavailable(words, replace(read_answer(status, answer.headers, b""), words=words))
        if status != 200:
            raise ConfigError(f"{stop_words(status)} (the URL is {self.api_url})")
        found = document.get(name)
        if not isinstance(found, dict):
            raise self._not_lago()
        return found

    def _not_lago(self) -> ConfigError:
        return ConfigError(f"{self.api_url} does not answer as Lago does: LAGO_API_URL must end in /api/v1")

    def _request(self, method: str, path: str, data: bytes | None = None) -> requests.Response:
        with self._session() as session:
            return session.request(
                method,
                self.api_url + path,
                data=data,
                timeout=self._timeout,
                allow_redirects=False,  # a redirect must never carry the key elsewhere
                headers={"X-Request-Id": str(uuid4())},
            )

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """A session for one request: the one used last, so that no more are open than were ever needed."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._opened()
        try:
            yield session
        finally:
            self._idle.append(session)

    def _opened(self) -> requests.Session:
        session = self._new_session()
        session.auth = self._key
        session.headers.update(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": f"lago-pipeline/{__version__}",
            }
        )
        return session


def _document(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer; an empty one where it is something else."""
    try:
        document = answer.json()
    except requests.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _short(error: Exception) -> str:
    """The kind of a transport error in a few words, without URLs."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was not accepted"
    return "the connection failed"
