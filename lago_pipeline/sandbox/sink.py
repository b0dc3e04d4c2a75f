"""A bottomless Lago for benchmarks: posted events are counted and answered, and neither read nor stored.

Only `POST /events` and `POST /events/batch` end here, before HTTP is even parsed; everything else is for
the whole sandbox, so that a client finds the catalogue that it looks for first.
"""

import re
from asyncio import Transport
from http import HTTPStatus

from uvicorn.protocols.http.h11_impl import H11Protocol

from lago_pipeline.sandbox.answers import JSON_TYPE
from lago_pipeline.sandbox.api import PREFIX
from lago_pipeline.sandbox.exchange import RequestCounts

_PATHS = {f"POST {PREFIX}{path} HTTP/1.1\r\n".encode(): path for path in ("/events", "/events/batch")}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class Sink:
    """What was sunk so far, and how many seconds each answer waits."""

    def __init__(self, seconds: float, counts: RequestCounts) -> None:
        self.seconds = seconds
        self.counts = counts
        self.events = 0

    def protocol(self) -> type[H11Protocol]:
        """The protocol class of a uvicorn server that sinks here."""
        sink = self

        class Protocol(_Protocol):
            into = sink

        return Protocol


class _Protocol(H11Protocol):
    """One connection: requests that post events are taken out of what it says."""

    into: Sink
    _held = b""

    def data_received(self, data: bytes) -> None:
        """Sink whole requests, keep the beginning of one, and leave the rest to uvicorn."""
        if not self._held and not getattr(self.cycle, "response_complete", True):
            super().data_received(data)
            return
        self._held += data
        while self._held and any(line.startswith(self._held[: len(line)]) for line in _PATHS):
            if not self._sank():
                return
        rest, self._held = self._held, b""
        if rest:
            super().data_received(rest)

    def _sank(self) -> bool:
        """Take one request off what is held, unless some of it is still to come."""
        head, blank, rest = self._held.partition(b"\r\n\r\n")
        head += b"\r\n"
        length = _LENGTH.search(head)
        if not blank or (length and len(rest) < int(length[1])):
            return False
        self._unset_keepalive_if_required()
        body, self._held = (rest[: int(length[1])], rest[int(length[1]) :]) if length else (b"", b"")
        status = HTTPStatus.OK if length else HTTPStatus.LENGTH_REQUIRED
        self._answer(head, body, status)
        return True

    def _answer(self, head: bytes, body: bytes, status: HTTPStatus) -> None:
        """Echo the events, which is as long as Lago's answer and names the same ids."""
        self.into.events += body.count(b'"transaction_id"')
        self.into.counts.add("POST", _PATHS[head[: head.index(b"\n") + 1]], str(status.value))
        closes = status != HTTPStatus.OK or _CLOSE.search(head) is not None
        answer = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
            status.value,
            status.phrase.encode(),
            JSON_TYPE.encode(),
            len(body),
            b"connection: close\r\n" if closes else b"",
            body,
        )
        if self.into.seconds:
            self.loop.call_later(self.into.seconds, _write, self.transport, answer, closes)
        else:
            _write(self.transport, answer, closes)


def _write(transport: Transport, answer: bytes, closes: bool) -> None:
    if not transport.is_closing():
        transport.write(answer)
        if closes:
            transport.close()
