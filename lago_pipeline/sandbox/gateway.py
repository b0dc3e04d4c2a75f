"""What stands between the network and the API: request ids, the rate limit, faults, and counting."""

import asyncio
import re
import time
import uuid
from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lago_pipeline.sandbox import limiter
from lago_pipeline.sandbox.answers import error
from lago_pipeline.sandbox.api import PREFIX
from lago_pipeline.sandbox.faults import FaultRule, Faults

_BAD_GATEWAY = """<html>
<head><title>{status}</title></head>
<body><center><h1>{status}</h1></center><hr><center>nginx</center></body>
</html>
"""
_DROPPED = "dropped"


class RequestCounts:
    """How often each endpoint answered with each status."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, method: str, path: str, status: str) -> None:
        """Count a request; ids in paths are folded into one name."""
        parts = path.strip("/").split("/")
        name = f"/{parts[0]}/{{id}}" if len(parts) > 1 and path != "/events/batch" else path
        self._counts[f"{method} {name}", status] += 1

    def clear(self) -> None:
        """Start again from zero."""
        self._counts.clear()

    def describe(self) -> dict[str, dict[str, int]]:
        """Counts by endpoint and status; `dropped` is a connection cut without an answer."""
        found: dict[str, dict[str, int]] = {}
        for (endpoint, status), count in sorted(self._counts.items()):
            found.setdefault(endpoint, {})[status] = count
        return found


@dataclass(frozen=True)
class _Exchange:
    """One request under way."""

    scope: Scope
    receive: Receive
    send: Send
    headers: list[limiter.Header]
    counts: RequestCounts
    path: str

    async def answer(self, response: ASGIApp) -> None:
        """Let an application answer, with our headers added and its status counted."""

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
                self.count(str(message["status"]))
            await self.send(message)

        await response(self.scope, self.receive, send)

    async def process(self, app: ASGIApp) -> None:
        """Let the application do its work and keep its answer from the client."""

        async def swallow(_: Message) -> None:
            """The client is not to learn what happened."""

        await app(self.scope, self.receive, swallow)

    async def drop(self) -> None:
        """Cut the TCP connection. ASGI has no word for it, so uvicorn's request cycle is asked."""
        transport = getattr(getattr(self.send, "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError("this server gives no access to its connections, so none can be dropped")
        self.count(_DROPPED)
        transport.abort()
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def count(self, status: str) -> None:
        """Count how the exchange ended."""
        self.counts.add(self.scope["method"], self.path, status)


class Gateway:
    """An ASGI layer around the application; only paths under /api/v1 concern it."""

    def __init__(
        self, app: ASGIApp, faults: Faults, counts: RequestCounts, rate: limiter.Limiter | None
    ) -> None:
        self._app = app
        self._faults = faults
        self._counts = counts
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event."""
        path = scope["path"] if scope["type"] == "http" else ""
        if not path.startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return
        allowed, headers = self._rate.take(time.monotonic()) if self._rate else (True, [])
        headers.append((b"x-request-id", _request_id(scope)))
        exchange = _Exchange(scope, receive, send, headers, self._counts, path.removeprefix(PREFIX))
        if allowed:
            await self._handle(exchange)
        else:
            await exchange.answer(error(429))

    async def _handle(self, exchange: _Exchange) -> None:
        seconds, fault = self._faults.strike(exchange.scope["method"], exchange.path)
        if seconds:
            await asyncio.sleep(seconds)
        if fault is None:
            await exchange.answer(self._app)
        else:
            await self._misbehave(exchange, fault)

    async def _misbehave(self, exchange: _Exchange, fault: FaultRule) -> None:
        if fault.kind in {"drop_after", "commit_then_status"}:
            await exchange.process(self._app)
        if fault.kind in {"drop_before", "drop_after"}:
            await exchange.drop()
        else:
            await exchange.answer(_instead(fault, exchange))


def _instead(fault: FaultRule, exchange: _Exchange) -> Response:
    """The answer that a fault puts in the place of Lago's."""
    status = fault.answer_status
    if fault.kind == "html":
        return Response(_BAD_GATEWAY.format(status=status), status, media_type="text/html")
    response = error(status, _forbidden(exchange) if status == 403 else None)
    if fault.kind == "rate_limit":
        response.headers.update(_throttling(fault))
    return response


def _throttling(fault: FaultRule) -> dict[str, str]:
    """X-RateLimit headers unless only Retry-After was asked for."""
    found: dict[str, str] = {}
    if fault.reset_seconds is not None or fault.retry_after is None:
        reset = 1.0 if fault.reset_seconds is None else fault.reset_seconds
        found = {name.decode(): value.decode() for name, value in limiter.headers(500, 0, reset)}
    if fault.retry_after is not None:
        found["retry-after"] = f"{fault.retry_after:g}"
    return found


def _forbidden(exchange: _Exchange) -> str:
    """Lago's code for a key without the permission, e.g. write_action_not_allowed_for_event."""
    mode = "read" if exchange.scope["method"] == "GET" else "write"
    resource = exchange.path.strip("/").split("/")[0].removesuffix("s")
    return f"{mode}_action_not_allowed_for_{resource}"


def _request_id(scope: MutableMapping[str, Any]) -> bytes:
    """Echo X-Request-Id, or make one (Rails: ActionDispatch::RequestId)."""
    given = re.sub(r"[^\w\-@]", "", Headers(scope=scope).get("x-request-id", ""), flags=re.ASCII)[:255]
    return (given or str(uuid.uuid4())).encode("ascii")
