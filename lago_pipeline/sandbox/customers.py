"""Customers, found and made again by their external id."""

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import params
from lago_pipeline.sandbox.answers import invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog, Document, new_id
from lago_pipeline.sandbox.organization import NUMBER_PREFIX
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.timestamps import iso_seconds

_GIVEN = (
    "name", "firstname", "lastname", "email", "currency", "country", "city", "state", "zipcode",
    "address_line1", "address_line2", "legal_name", "legal_number", "phone", "url", "timezone",
    "tax_identification_number", "net_payment_term",
)  # fmt: skip


class Customers:
    """Lago's `api/v1/customers_controller.rb`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self, api: Api) -> list[Route]:
        """Everything under /customers."""
        return [
            api.route("GET", "/customers", self.index),
            api.route("POST", "/customers", self.create),
            api.route("GET", "/customers/{external_id:path}", self.show),
        ]

    def index(self, call: Call) -> Response:
        """GET /customers, by `external_id` or by `search_term` in name, id or e-mail."""
        found = self._catalog.all("customer")
        wanted, term = call.query.get("external_id"), call.query.get("search_term", "").lower()
        if wanted:
            found = [customer for customer in found if customer["external_id"] == wanted]
        if term:
            found = [customer for customer in found if _mentions(customer, term)]
        return ok(Page.asked(call.query).of("customers", found))

    def show(self, call: Call) -> Response:
        """GET /customers/{external_id}; a raw dot begins a format, as nowhere else in Lago."""
        found = self._catalog.find("customer", call.path_id(dots=False))
        if found is None:
            raise not_found("customer")
        return ok({"customer": found})

    def create(self, call: Call) -> Response:
        """POST /customers: makes one, or updates the one with this external id."""
        posted = params.root(call.params, "customer")
        external_id = params.text(posted.get("external_id"))
        problems = params.mandatory({"external_id": external_id})
        if problems or external_id is None:
            raise invalid(problems)
        return ok({"customer": upsert(self._catalog, external_id, posted, call.now_us)})


def upsert(catalog: Catalog, external_id: str, posted: Params, now_us: int) -> Document:
    """Make or update a customer (Lago: `customers/upsert_from_api_service.rb`)."""
    customer = catalog.find("customer", external_id) or _document(catalog, external_id, now_us)
    customer |= {name: posted[name] for name in _GIVEN if name in posted}
    configuration = posted.get("billing_configuration")
    if isinstance(configuration, dict):
        customer["billing_configuration"] = configuration
    customer["applicable_timezone"] = customer["timezone"] or "UTC"
    customer["updated_at"] = iso_seconds(now_us)
    catalog.save("customer", customer)
    return customer


def _document(catalog: Catalog, external_id: str, now_us: int) -> Document:
    """Lago's `v1/customer_serializer.rb`, the part that concerns usage."""
    number = len(catalog.all("customer")) + 1
    return {
        "lago_id": new_id(),
        "sequential_id": number,
        "slug": f"{NUMBER_PREFIX}-{number:03}",
        "external_id": external_id,
        "account_type": "customer",
        **dict.fromkeys(_GIVEN),
        "created_at": iso_seconds(now_us),
        "billing_configuration": {"invoice_grace_period": None},
        "metadata": [],
    }


def _mentions(customer: Document, term: str) -> bool:
    return any(term in str(customer[name] or "").lower() for name in ("name", "external_id", "email"))
