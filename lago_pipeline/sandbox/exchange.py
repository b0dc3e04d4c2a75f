"""One request under way and the ways to end it: answers whole or spoiled, and cut connections."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lago_pipeline.sandbox.limiter import Header

_DROPPED = "dropped"


class RequestCounts:
    """How often each endpoint answered with each status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, method: str, path: str, status: str) -> None:
        """Count a request; ids in paths, which no POST has, are folded into one name."""
        parts = path.strip("/").split("/")
        name = f"/{parts[0]}/{{id}}" if len(parts) > 1 and method != "POST" else path
        self._counts[f"{method} {name}", status] += 1

    def clear(self) -> None:
        """Start again from zero."""
        self._counts.clear()

    def describe(self) -> dict[str, dict[str, int]]:
        """Counts by endpoint and status; `dropped` is a connection cut without a whole answer."""
        found: dict[str, dict[str, int]] = {}
        for (endpoint, status), count in sorted(self._counts.items()):
            found.setdefault(endpoint, {})[status] = count
        return found


async def recorded(receive: Receive) -> tuple[bytes, Receive]:
    """Read a request's whole body, and give a `receive` that tells it all again."""
    messages: deque[Message] = deque()
    while not messages or messages[-1].get("more_body"):
        messages.append(await receive())
    body = b"".join(message.get("body", b"") for message in messages)

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return body, again


@dataclass(frozen=True)
class Exchange:
    """One request; `headers` are added to its answer, and `path` follows /api/v1."""

    scope: Scope
    receive: Receive
    send: Send
    headers: Sequence[Header]
    counts: RequestCounts
    path: str

    async def answer(self, response: ASGIApp) -> None:
        """Let an application answer, with our headers added and its status counted."""

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
                self._count(str(message["status"]))
            await self.send(message)

        await response(self.scope, self.receive, send)

    async def process(self, app: ASGIApp) -> Response:
        """Let the application do its work, and keep its answer from the client."""
        response, parts = Response(), []

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                response.status_code, response.raw_headers = message["status"], list(message["headers"])
            else:
                parts.append(message.get("body", b""))

        await app(self.scope, self.receive, keep)
        response.body = b"".join(parts)
        return response

    async def drop(self) -> None:
        """Cut the TCP connection. ASGI has no word for it, so uvicorn's request cycle is asked."""
        self._count(_DROPPED)
        self._transport().abort()
        await self._gone()

    async def cut(self, response: Response) -> None:
        """Announce the whole answer, send half of its body and cut the connection."""
        self._count(_DROPPED)
        body = bytes(response.body)
        await self._begin(response)
        await self._part(body[: len(body) // 2])
        self._transport().close()
        await self._gone()

    async def drip(self, response: Response, seconds: float) -> None:
        """Send the answer byte by byte, until its end or until the client has gone."""
        await self._begin(response)
        gone = asyncio.ensure_future(self._gone())
        for byte in bytes(response.body):
            await self._part(bytes((byte,)))
            await asyncio.wait((gone,), timeout=seconds)
            if gone.done():
                self._count(_DROPPED)
                return
        gone.cancel()
        self._count(str(response.status_code))
        await self.send({"type": "http.response.body", "body": b""})

    async def _begin(self, response: Response) -> None:
        headers = [*response.raw_headers, *self.headers]
        await self.send({"type": "http.response.start", "status": response.status_code, "headers": headers})

    async def _part(self, body: bytes) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _transport(self) -> asyncio.Transport:
        found: asyncio.Transport | None = getattr(getattr(self.send, "__self__", None), "transport", None)
        if found is None:
            raise RuntimeError("this server gives no access to its connections, so none can be cut")
        return found

    def _count(self, status: str) -> None:
        self.counts.add(self.scope["method"], self.path, status)
