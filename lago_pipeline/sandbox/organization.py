"""The organisation that the API key belongs to."""

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox.answers import ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.store import Store

NUMBER_PREFIX = "SAN-0001"
"""What the organisation's customers and documents are numbered under."""


class Organizations:
    """Lago's `api/v1/organizations_controller.rb`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self, api: Api) -> list[Route]:
        """Everything under /organizations."""
        return [api.route("GET", "/organizations", self.show)]

    def show(self, call: Call) -> Response:  # noqa: ARG002 - a handler is given the call
        """GET /organizations."""
        return ok({"organization": _body(self._store)})


def _body(store: Store) -> dict[str, object]:
    """Lago's `v1/organization_serializer.rb`, without addresses and invoice texts."""
    return {
        "lago_id": store.organization_id,
        "name": "Sandbox",
        "created_at": "2026-01-01T00:00:00Z",
        "webhook_url": None,
        "webhook_urls": [],
        "country": None,
        "default_currency": "EUR",
        "email": None,
        "legal_name": None,
        "timezone": "UTC",
        "net_payment_term": 0,
        "document_numbering": "per_customer",
        "document_number_prefix": NUMBER_PREFIX,
        "finalize_zero_amount_invoice": True,
        "events_store": store.kind,
        "billing_configuration": {"invoice_grace_period": 0, "document_locale": "en"},
        "email_settings": [],
        "taxes": [],
    }
