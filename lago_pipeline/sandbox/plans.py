"""Plans and their charges: which metrics are billed, and at what price."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import params
from lago_pipeline.sandbox.answers import invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog, Document, new_id
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.timestamps import iso_seconds

INTERVALS = ("weekly", "monthly", "quarterly", "semiannual", "yearly")

_MANDATORY = ("name", "code", "amount_cents", "amount_currency")


class Plans:
    """Lago's `api/v1/plans_controller.rb`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self, api: Api) -> list[Route]:
        """Everything under /plans."""
        return [
            api.route("GET", "/plans", self.index),
            api.route("POST", "/plans", self.create),
            api.route("GET", "/plans/{code:path}", self.show),
        ]

    def index(self, call: Call) -> Response:
        """GET /plans: parents only, newest first; a subscription's own plan is no resource of its own."""
        return ok(Page.asked(call.query).of("plans", self._catalog.all("plan")))

    def show(self, call: Call) -> Response:
        """GET /plans/{code}."""
        found = self._catalog.find("plan", call.path_id())
        if found is None:
            raise not_found("plan")
        return ok({"plan": found})

    def create(self, call: Call) -> Response:
        """POST /plans."""
        posted = params.root(call.params, "plan")
        problems = params.mandatory({name: params.text(posted.get(name)) for name in _MANDATORY})
        if posted.get("interval") not in INTERVALS:
            problems["interval"] = ["value_is_invalid"]
        if "code" not in problems and self._catalog.find("plan", str(posted["code"])):
            problems["code"] = ["value_already_exist"]
        if problems:
            raise invalid(problems)
        plan = _document(posted, self._charges(posted, call.now_us), call.now_us)
        self._catalog.save("plan", plan)
        return ok({"plan": plan})

    def _charges(self, posted: Params, now_us: int) -> list[Document]:
        charges = posted.get("charges")
        found = charges if isinstance(charges, list) else []
        return [self._charge(charge, now_us) for charge in found if isinstance(charge, dict)]

    def _charge(self, posted: Params, now_us: int) -> Document:
        """Lago's `v1/charge_serializer.rb`. A charge's code defaults to its metric's."""
        metric = self._catalog.with_id("billable_metric", posted.get("billable_metric_id"))
        if metric is None:
            raise not_found("billable_metrics")
        properties = params.properties(posted.get("properties"))
        check_amount(properties)
        return {
            "lago_id": new_id(),
            "code": posted.get("code") or metric["code"],
            "lago_billable_metric_id": metric["lago_id"],
            "billable_metric_code": metric["code"],
            "invoice_display_name": posted.get("invoice_display_name"),
            "created_at": iso_seconds(now_us),
            "charge_model": posted.get("charge_model") or "standard",
            "pay_in_advance": posted.get("pay_in_advance") is True,
            "invoiceable": posted.get("invoiceable") is not False,
            "regroup_paid_fees": posted.get("regroup_paid_fees"),
            "prorated": posted.get("prorated") is True,
            "min_amount_cents": posted.get("min_amount_cents") or 0,
            "properties": properties,
            "filters": posted.get("filters") or [],
            "lago_parent_id": None,
        }


def check_amount(properties: Mapping[str, object]) -> None:
    """Refuse an amount that is not decimal text (Lago: `validators/decimal_amount_service.rb`)."""
    if not isinstance(properties.get("amount", ""), str):
        raise invalid({"properties": ["invalid_amount"]})


def _document(posted: Params, charges: list[Document], now_us: int) -> Document:
    """Lago's `v1/plan_serializer.rb`, without taxes, commitments and entitlements."""
    return {
        "lago_id": new_id(),
        "name": posted["name"],
        "invoice_display_name": posted.get("invoice_display_name"),
        "created_at": iso_seconds(now_us),
        "code": params.text(posted["code"]),
        "interval": posted["interval"],
        "description": posted.get("description"),
        "amount_cents": posted["amount_cents"],
        "amount_currency": posted["amount_currency"],
        "trial_period": posted.get("trial_period"),
        "pay_in_advance": posted.get("pay_in_advance") is True,
        "bill_charges_monthly": posted.get("bill_charges_monthly"),
        "charges": charges,
        "taxes": [],
    }


def overridden(plan: Document, overrides: Params) -> Document:
    """Make a subscription's own plan: a child with other prices (Lago: `plans/override_service.rb`)."""
    changes = overrides.get("charges")
    by_id = {change.get("id"): change for change in changes} if isinstance(changes, list) else {}
    charges = plan["charges"] if isinstance(plan["charges"], list) else []
    own: Document = {
        name: overrides[name] for name in ("name", "amount_cents", "amount_currency") if name in overrides
    }
    return {
        **plan,
        **own,
        "lago_id": new_id(),
        "charges": [_overridden(charge, by_id.get(charge["lago_id"], {})) for charge in charges],
    }


def _overridden(charge: Document, change: Params) -> Document:
    names = ("properties", "filters", "min_amount_cents", "invoice_display_name")
    return {
        **charge,
        **{name: change[name] for name in names if name in change},
        "lago_id": new_id(),
        "lago_parent_id": charge["lago_id"],
    }
