"""How every endpoint under /api/v1 runs: parse the body, then the key, then the handler."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import bodies
from lago_pipeline.sandbox.answers import Refused, error, not_found

PREFIX = "/api/v1"

_NOBODY_LISTENS = 499  # nginx's word for a client that hung up while it was sending; seen in the stats


@dataclass(frozen=True, slots=True)
class Call:
    """One authorised request with its parsed body, and when it was received."""

    request: Request
    params: bodies.Params
    now_us: int

    @property
    def query(self) -> dict[str, str]:
        """The query string's parameters; of a repeated one the last."""
        return dict(self.request.query_params)

    def path_id(self, *, dots: bool = True) -> str:
        """The last part of the path, percent-decoded; a raw slash makes it another path.

        Without `dots` a raw dot begins a format that Rails cuts off, and a second one fits no route.
        """
        raw = self.request.scope["raw_path"].decode("ascii")
        parts = raw.removeprefix(f"{PREFIX}/").split("/")
        if len(parts) != 2 or not parts[1] or (not dots and parts[1].count(".") > 1):
            raise not_found()
        return unquote(parts[1] if dots else parts[1].partition(".")[0])


Handler = Callable[[Call], Response]


class Api:
    """Makes routes that ask for the organisation's key."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def route(self, method: str, path: str, handler: Handler) -> Route:
        """Route a path below /api/v1 to a handler."""
        return Route(f"{PREFIX}{path}", self._endpoint(handler), methods=[method])

    def _endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            now_us = time.time_ns() // 1000
            try:
                params, _ = await bodies.read(request)
                self._authorize(request)
                return handler(Call(request, params, now_us))
            except Refused as refused:
                return refused.response
            except ClientDisconnect:
                return Response(status_code=_NOBODY_LISTENS)

        return answer

    def _authorize(self, request: Request) -> None:
        """Take the second word of the header, whatever the first is (Lago: base_controller.rb)."""
        words = request.headers.get("authorization", "").split()
        if len(words) < 2 or words[1] != self._api_key:
            raise Refused(error(401))
