"""The Dagster shells around the warehouse, Lago and the ledger, and the default instances of each.

The defaults read the environment when a run starts, never before. They are module-level singletons under
keys of our own, so that several syncs share them and nothing in a user's project collides.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import dagster as dg
import sqlalchemy as sa
from pydantic import Field
from pydantic.config import JsonDict

from lago_pipeline.errors import ConfigError
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.transport import ANSWER_SECONDS, TransportOptions
from lago_pipeline.ledger.database import open_ledger
from lago_pipeline.settings import LAGO_API_KEY, LAGO_API_URL, WAREHOUSE_URL, Settings, is_loopback
from lago_pipeline.source.warehouse import warehouse_engine

WAREHOUSE_KEY = "lago_pipeline__warehouse"
LAGO_KEY = "lago_pipeline__lago"
LEDGER_KEY = "lago_pipeline__ledger"

Resource = TypeVar("Resource")
_SECRET: JsonDict = {"dagster__is_secret": True}


class WarehouseResource(dg.ConfigurableResource[None]):
    """The database that usage rows come from."""

    url: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra=_SECRET,
        description="SQLAlchemy URL of the source; by default the environment variable WAREHOUSE_URL.",
    )

    @contextmanager
    def connected(self) -> Iterator[sa.Engine]:
        """An engine, disposed of at the end."""
        engine = warehouse_engine(self.url or Settings().required(WAREHOUSE_URL))
        try:
            yield engine
        finally:
            engine.dispose()


class LagoResource(dg.ConfigurableResource[None]):
    """Lago's API for one organization."""

    api_url: str | None = Field(
        default=None,
        description="Lago's API, with /api/v1; by default the environment variable LAGO_API_URL.",
    )
    api_key: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra=_SECRET,
        description="An API key; by default the environment variable LAGO_API_KEY.",
    )
    answer_seconds: float = Field(default=ANSWER_SECONDS, gt=0, description="How long to wait for an answer.")
    ca_file: str | None = Field(
        default=None, description="PEM file of the authorities that Lago's certificate is verified against."
    )
    client_certificate: str | None = Field(
        default=None, description="PEM file of the certificate to show to Lago, or to a proxy before it."
    )
    client_key: str | None = Field(default=None, description="PEM file of that certificate's key.")
    proxy: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra=_SECRET,
        description="URL of a proxy; by default what HTTPS_PROXY and NO_PROXY say.",
    )

    @contextmanager
    def connected(self) -> Iterator[LagoClient]:
        """A client with kept-alive connections, closed at the end."""
        api_url = self.api_url or Settings().required(LAGO_API_URL)
        self.check_url(api_url)
        api_key = self.api_key or Settings().required(LAGO_API_KEY)
        options = TransportOptions(
            answer_seconds=self.answer_seconds,
            ca_file=self.ca_file,
            client_certificate=self.client_certificate,
            client_key=self.client_key,
            proxy=self.proxy,
        )
        with LagoClient(api_url, api_key, options=options) as client:
            yield client

    def check_url(self, api_url: str) -> None:
        """Raise ConfigError for a Lago that this resource may not speak to; any is allowed here."""


class LoopbackLagoResource(LagoResource):
    """A Lago on this machine only: the demo's usage must never be billed to a real organization."""

    def check_url(self, api_url: str) -> None:
        """Raise ConfigError for a Lago elsewhere."""
        if not is_loopback(api_url):
            raise ConfigError(f"the demo speaks only to a Lago on this machine: {LAGO_API_URL} names another")


class LedgerResource(dg.ConfigurableResource[None]):
    """The ledger of what Lago has, on SQLite or PostgreSQL."""

    url: str | None = Field(
        default=None,
        repr=False,
        json_schema_extra=_SECRET,
        description="SQLAlchemy URL; by default LEDGER_URL, else a SQLite file in the state folder.",
    )

    @contextmanager
    def opened(self) -> Iterator[sa.Engine]:
        """The ledger with a current schema, disposed of at the end."""
        engine = open_ledger(self.url or Settings().ledger_url)
        try:
            yield engine
        finally:
            engine.dispose()


def resource_of(resources: object, key: str, kind: type[Resource]) -> Resource:
    """The resource under a key; raises ConfigError where the project has something else there."""
    found = getattr(resources, key)
    if not isinstance(found, kind):
        raise ConfigError(
            f"the resource {key!r} is a {type(found).__name__}: "
            f"put a lago_pipeline.resources.{kind.__name__} there"
        )
    return found


DEFAULT_RESOURCES: dict[str, object] = {
    WAREHOUSE_KEY: WarehouseResource(),
    LAGO_KEY: LagoResource(),
    LEDGER_KEY: LedgerResource(),
}
