"""What stands between the network and the API: request ids, the rate limit, faults, and counting."""

import asyncio
import re
import time
import uuid
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lago_pipeline.sandbox.answers import error
from lago_pipeline.sandbox.api import PREFIX
from lago_pipeline.sandbox.exchange import Exchange, RequestCounts, recorded
from lago_pipeline.sandbox.faults import Asked, Faults, Strike
from lago_pipeline.sandbox.limiter import Header, Limiter
from lago_pipeline.sandbox.misbehaviour import misbehave, without_details


class Gateway:
    """An ASGI layer around the application; only paths under /api/v1 concern it."""

    def __init__(self, app: ASGIApp, faults: Faults, counts: RequestCounts, rate: Limiter | None) -> None:
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
        path = path.removeprefix(PREFIX)
        allowed, headers = True, list[Header]()
        if self._rate:
            allowed, headers = self._rate.take(scope["method"], path, time.monotonic())
        headers.append((b"x-request-id", _request_id(scope)))
        exchange = Exchange(scope, receive, send, headers, self._counts, path)
        if not allowed:
            await exchange.answer(error(429))
        elif self._faults:
            await self._tempt(exchange)
        else:
            await exchange.answer(self._app)

    async def _tempt(self, exchange: Exchange) -> None:
        """Let the rules look at the whole request before anything else does."""
        body, again = await recorded(exchange.receive)
        asked = Asked(exchange.scope["method"], exchange.path, body)
        strike = self._faults.strike(asked)
        await asyncio.sleep(strike.seconds)
        exchange = replace(exchange, receive=again)
        app = self._changed(strike)
        if strike.rule is None:
            await exchange.answer(app)
        else:
            await misbehave(strike.rule, asked, exchange, app)

    def _changed(self, strike: Strike) -> ASGIApp:
        """The application as the changes of a strike make it."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"]["partial_store"] = "partial_store" in strike.changes
            if "hide_details" not in strike.changes:
                await self._app(scope, receive, send)
                return
            exchange = Exchange(scope, receive, send, (), self._counts, "")
            await without_details(await exchange.process(self._app))(scope, receive, send)

        return app


def _request_id(scope: MutableMapping[str, Any]) -> bytes:
    """Echo X-Request-Id, or make one (Rails: ActionDispatch::RequestId)."""
    given = re.sub(r"[^\w\-@]", "", Headers(scope=scope).get("x-request-id", ""), flags=re.ASCII)[:255]
    return (given or str(uuid.uuid4())).encode("ascii")
