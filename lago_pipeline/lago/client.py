"""Lago's API for one key: events in batches, and what Lago holds and knows; the key in its header only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

from lago_pipeline import __version__
from lago_pipeline.errors import ConfigError, RetriableError
from lago_pipeline.lago.answers import Answer, lost, read_answer, stop_words
from lago_pipeline.lago.transport import (
    CurlTransport,
    Response,
    Transport,
    TransportError,
    TransportOptions,
)
from lago_pipeline.lago.windows import Page, Window
from lago_pipeline.organization import Organization
from lago_pipeline.settings import checked_api_url


class LagoUnavailable(RetriableError):
    """Lago cannot be asked now; `answer` says as much, and how long to wait where it was told."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class _Key:
    """Keeps the key out of whatever text is made of a client."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def header(self) -> dict[str, str]:
        """The header that carries it."""
        return {"Authorization": f"Bearer {self._text}"}


class LagoClient:
    """Lago's API for one key.

    Methods that read raise ConfigError for an answer that a person must mend and RetriableError when Lago
    cannot be reached; `post_events` never raises for an answer. Methods may be called from any thread.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        options: TransportOptions = TransportOptions(),  # noqa: B008 - a frozen value
        transport: Callable[[TransportOptions], Transport] = CurlTransport,
    ) -> None:
        self.api_url = checked_api_url(api_url)
        key = api_key.strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError("the Lago API key is empty or holds odd characters: copy it again from Lago")
        self._key = _Key(key)
        self._headers: Mapping[str, str] = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"lago-pipeline/{__version__}",
        }
        self._transport = transport(options)

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
        self._transport.close()

    def post_events(self, bodies: Sequence[bytes]) -> Answer:
        """Send events, each already JSON, in one batch; a lost answer is an answer too."""
        body = b'{"events":[' + b",".join(bodies) + b"]}"
        try:
            answer = self._request("POST", "/events/batch", body)
        except TransportError as error:
            return lost(str(error))
        return read_answer(answer.status, answer.headers, answer.content)

    def event(self, transaction_id: str) -> dict[str, Any] | None:
        """The event that Lago holds under an id, or None."""
        return self._get(f"/events/{quote(transaction_id, safe='')}", "event", absent="event_not_found")

    def events(self, window: Window, page: int) -> Page:
        """A page of the events that Lago holds in a window."""
        document = self._read(f"/events?{window.query(page)}") or {}
        found, meta = document.get("events"), document.get("meta")
        if not isinstance(found, list) or not isinstance(meta, dict):
            raise self._not_lago()
        return Page(found, int(meta.get("total_pages") or 0), meta.get("next_page"))

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

    def ask(self, method: str, path: str, body: bytes | None = None) -> Response:
        """Lago's answer, whatever its status; raises LagoUnavailable where none comes."""
        try:
            return self._request(method, path, body)
        except TransportError as error:
            words = f"Lago at {self.api_url} cannot be reached: {error}"
            raise LagoUnavailable(words, lost(words)) from None

    def _get(self, path: str, name: str, *, absent: str | None = None) -> dict[str, Any] | None:
        """What an answer holds under a name; None where Lago answers 404 with the code `absent`."""
        document = self._read(path, absent=absent)
        if document is None:
            return None
        found = document.get(name)
        if not isinstance(found, dict):
            raise self._not_lago()
        return found

    def _read(self, path: str, *, absent: str | None = None) -> dict[str, Any] | None:
        """A whole answer to a question; None where Lago answers 404 with the code `absent`."""
        answer = self.ask("GET", path)
        status, document = answer.status, answer.document()
        if status == 404 and absent is not None and document.get("code") == absent:
            return None
        if status in (408, 429) or status >= 500:
            words = f"Lago at {self.api_url} answered {status}: try again later"
            raise LagoUnavailable(words, replace(read_answer(status, answer.headers, b""), words=words))
        if status != 200:
            raise ConfigError(f"{stop_words(status)} (the URL is {self.api_url})")
        return document

    def _not_lago(self) -> ConfigError:
        return ConfigError(f"{self.api_url} does not answer as Lago does: LAGO_API_URL must end in /api/v1")

    def _request(self, method: str, path: str, body: bytes | None = None) -> Response:
        headers = {**self._headers, **self._key.header(), "X-Request-Id": str(uuid4())}
        return self._transport.send(method, self.api_url + path, headers, body)
