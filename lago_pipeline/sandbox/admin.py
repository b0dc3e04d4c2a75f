"""What only a sandbox has, outside /api/v1 and without a key: faults, counters, reset, health."""

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lago_pipeline.sandbox.answers import ok
from lago_pipeline.sandbox.catalog import Catalog
from lago_pipeline.sandbox.exchange import RequestCounts
from lago_pipeline.sandbox.fault_json import rules_from_json
from lago_pipeline.sandbox.faults import Faults, InvalidFaultError
from lago_pipeline.sandbox.ingest import Ingest
from lago_pipeline.sandbox.sink import Sink
from lago_pipeline.sandbox.store import Store

_SOURCE = "https://github.com/getlago/lago-api"


class Admin:
    """The sandbox's own endpoints."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        ingest: Ingest,
        faults: Faults,
        counts: RequestCounts,
        sink: Sink | None,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._ingest = ingest
        self._faults = faults
        self._counts = counts
        self._sink = sink

    def routes(self) -> list[Route]:
        """Everything under /sandbox, and Lago's own health checks."""
        return [
            Route("/sandbox/faults", self._list_faults, methods=["GET"]),
            Route("/sandbox/faults", self._set_faults, methods=["POST"]),
            Route("/sandbox/faults", self._clear_faults, methods=["DELETE"]),
            Route("/sandbox/stats", self._stats, methods=["GET"]),
            Route("/sandbox/reset", self._reset, methods=["POST"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/ready", self._ready, methods=["GET"]),
        ]

    def stats(self) -> dict[str, object]:
        """Requests by endpoint and status, events held and billed, duplicates refused, events sunk."""
        return {
            "requests": self._counts.describe(),
            "events_stored": self._store.count("select count(*) from events"),
            "events_counted": self._store.count("select count(*) from counted_events"),
            "duplicates_refused": self._ingest.duplicates_refused,
            "events_sunk": self._sink.events if self._sink else 0,
        }

    def reset(self, *, catalog: bool = False) -> None:
        """Forget events, counters and faults, and with `catalog` what is sold and to whom."""
        self._store.reset(catalog=catalog)
        self._catalog.refresh()
        self._counts.clear()
        self._faults.replace(())
        self._ingest.duplicates_refused = 0
        if self._sink:
            self._sink.events = 0

    async def _list_faults(self, _: Request) -> Response:
        return ok({"faults": self._faults.describe()})

    async def _set_faults(self, request: Request) -> Response:
        """Put the rules of the body in the place of those in force."""
        try:
            self._faults.replace(rules_from_json(orjson.loads(await request.body())))
        except (InvalidFaultError, orjson.JSONDecodeError) as problem:
            return JSONResponse({"error": str(problem)}, 422)
        return ok({"faults": self._faults.describe()})

    async def _clear_faults(self, _: Request) -> Response:
        self._faults.replace(())
        return ok({"faults": []})

    async def _stats(self, _: Request) -> Response:
        return ok(self.stats())

    async def _reset(self, request: Request) -> Response:
        """`?catalog=true` forgets the catalogue too."""
        self.reset(catalog=request.query_params.get("catalog") == "true")
        return ok(self.stats())

    async def _health(self, _: Request) -> Response:
        return ok({"version": "sandbox", "github_url": _SOURCE, "message": "Success"})

    async def _ready(self, _: Request) -> Response:
        return ok({"status": "ok"})
