"""The whole sandbox as one ASGI application."""

from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from lago_pipeline.sandbox.admin import Admin
from lago_pipeline.sandbox.answers import error
from lago_pipeline.sandbox.api import Api
from lago_pipeline.sandbox.catalog import Catalog
from lago_pipeline.sandbox.config import SandboxConfig
from lago_pipeline.sandbox.customers import Customers
from lago_pipeline.sandbox.estimates import Estimates
from lago_pipeline.sandbox.events import Events
from lago_pipeline.sandbox.exchange import RequestCounts
from lago_pipeline.sandbox.faults import Faults
from lago_pipeline.sandbox.gateway import Gateway
from lago_pipeline.sandbox.ingest import Ingest
from lago_pipeline.sandbox.limiter import Limiter
from lago_pipeline.sandbox.metrics import Metrics
from lago_pipeline.sandbox.organization import Organizations
from lago_pipeline.sandbox.page import EventsPage
from lago_pipeline.sandbox.plans import Plans
from lago_pipeline.sandbox.sink import Sink
from lago_pipeline.sandbox.store import Store
from lago_pipeline.sandbox.subscriptions import Subscriptions


@dataclass(frozen=True)
class Sandbox:
    """One sandbox: its application, and what tests look at behind it."""

    asgi: ASGIApp
    store: Store
    faults: Faults
    admin: Admin
    sink: Sink | None


def build(config: SandboxConfig) -> Sandbox:
    """Open the state and put the parts together."""
    store = Store(config)
    catalog, faults, counts = Catalog(store), Faults(config.faults), RequestCounts()
    ingest = Ingest(store, catalog, config.batch_max)
    sink = None if config.sink is None else Sink(config.sink, counts)
    admin = Admin(store, catalog, ingest, faults, counts, sink)
    api = Api(config.api_key)
    routes: list[BaseRoute] = [
        *Estimates(catalog, ingest).routes(api),
        *Events(store, catalog, ingest).routes(api),
        *Metrics(catalog).routes(api),
        *Plans(catalog).routes(api),
        *Customers(catalog).routes(api),
        *Subscriptions(catalog).routes(api),
        *Organizations(store).routes(api),
        *admin.routes(),
        *EventsPage(store).routes(),
    ]
    rate = Limiter(config.rate_limit) if config.rate_limit else None
    return Sandbox(Gateway(_starlette(routes), faults, counts, rate), store, faults, admin, sink)


def _starlette(routes: list[BaseRoute]) -> Starlette:
    app = Starlette(routes=routes, exception_handlers={404: _no_such_path, 405: _no_such_path})
    app.router.redirect_slashes = False
    return app


async def _no_such_path(request: Request, _: Exception) -> Response:
    """Lago's catch-all route: a wrong path and a wrong verb are both 404, never 405."""
    del request
    return error(404, "resource_not_found")
