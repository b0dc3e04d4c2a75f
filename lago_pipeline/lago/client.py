"""The HTTP client: kept-alive connections, one a thread; the key in the header and nowhere else."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import requests
from requests.auth import AuthBase

from lago_pipeline import __version__
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.lago.answers import Answer, lost, read_answer, stop_words
from lago_pipeline.ledger.registry import Organization
from lago_pipeline.settings import checked_api_url

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""A batch of 100 is one insert and 100 queued jobs on Lago's side (LAGO.md 9)."""


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
        if not api_key.strip() or not api_key.isascii() or not api_key.isprintable():
            raise ConfigError("the Lago API key is empty or holds odd characters: copy it again from Lago")
        self._key = _Key(api_key.strip())
        self._timeout = timeout
        self._new_session = session
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LagoClient({self.api_url!r})"

    def close(self) -> None:
        """Close every thread's connection."""
        while self._sessions:
            self._sessions.pop().close()

    def post_events(self, bodies: Sequence[bytes]) -> Answer:
        """Send events, each already JSON, in one batch; a lost answer is an answer too."""
        body = b'{"events":[' + b",".join(bodies) + b"]}"
        try:
            answer = self._request("POST", "/events/batch", data=body)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            return lost(_short(error))
        return read_answer(answer.status_code, answer.headers, answer.content)

    def event(self, transaction_id: str) -> dict[str, Any] | None:
        """The event that Lago holds under an id, or None."""
        found = self._get(f"/events/{quote(transaction_id, safe='')}", missing_is_none=True)
        return found["event"] if found else None

    def organization(self) -> Organization:
        """The organization behind the key."""
        found = (self._get("/organizations") or {})["organization"]
        return Organization(
            lago_id=str(found["lago_id"]),
            name=str(found.get("name") or ""),
            events_store=str(found.get("events_store") or "postgres"),
        )

    def _get(self, path: str, *, missing_is_none: bool = False) -> dict[str, Any] | None:
        try:
            answer = self._request("GET", path)
        except requests.RequestException as error:
            raise RetriableError(f"Lago at {self.api_url} cannot be reached: {_short(error)}") from None
        if answer.status_code == 404 and missing_is_none:
            return None
        if answer.status_code == 429 or answer.status_code >= 500:
            raise RetriableError(f"Lago at {self.api_url} answered {answer.status_code}: try again later")
        if answer.status_code != 200:
            raise ConfigError(f"{stop_words(answer.status_code)} (the URL is {self.api_url})")
        try:
            found: dict[str, Any] = answer.json()
        except requests.JSONDecodeError:
            raise ConfigError(
                f"{self.api_url} does not answer as Lago does: LAGO_API_URL must end in /api/v1"
            ) from None
        return found

    def _request(self, method: str, path: str, data: bytes | None = None) -> requests.Response:
        return self._session.request(
            method,
            self.api_url + path,
            data=data,
            timeout=self._timeout,
            allow_redirects=False,  # a redirect must never carry the key elsewhere
            headers={"X-Request-Id": str(uuid4())},
        )

    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._new_session()
            session.auth = self._key
            session.headers.update(
                {
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    "User-Agent": f"lago-pipeline/{__version__}",
                }
            )
            self._local.session = session
            self._sessions.append(session)
        return session


def _short(error: Exception) -> str:
    """The kind of a transport error in a few words, without URLs."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate was not accepted"
    return "the connection failed"
