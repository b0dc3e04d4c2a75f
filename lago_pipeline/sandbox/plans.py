"""Plans and their charges: which metrics are billed, and at what price."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import params
from lago_pipeline.sandbox.answers import invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog, Document, charges_of, new_id
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.timestamps import iso_seconds

INTERVALS = ("weekly", "monthly", "quarterly", "semiannual", "yearly")

_ALWAYS_EDITABLE = ("name", "invoice_display_name", "description", "amount_cents")
_EDITABLE = (
    "code", "interval", "pay_in_advance", "amount_currency", "trial_period", "bill_charges_monthly",
)  # fmt: skip
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
            api.route("PUT", "/plans/{code:path}", self.update),
        ]

    def index(self, call: Call) -> Response:
        """GET /plans: parents only, newest first; a subscription's own plan is no resource of its own."""
        return ok(Page.asked(call.query).of("plans", self._catalog.all("plan")))

    def show(self, call: Call) -> Response:
        """GET /plans/{code}."""
        return ok({"plan": self._find(call)})

    def create(self, call: Call) -> Response:
        """POST /plans."""
        posted = params.root(call.params, "plan")
        lago_id = new_id()
        self._check(posted, lago_id)
        plan = {"lago_id": lago_id, "created_at": iso_seconds(call.now_us), **_document(posted)}
        plan["charges"] = self._charges(posted, {}, call.now_us)
        self._catalog.save("plan", plan)
        return ok({"plan": plan})

    def update(self, call: Call) -> Response:
        """PUT /plans/{code}: charges that are not named by their id are made anew, others go.

        Lago: `plans/update_service.rb`. A plan with subscriptions keeps its code, interval and currency.
        """
        plan, posted = self._find(call), params.root(call.params, "plan")
        subscriptions = [
            found for found in self._catalog.all("subscription") if _plan_id(found) == plan["lago_id"]
        ]
        names = _ALWAYS_EDITABLE if subscriptions else (*_ALWAYS_EDITABLE, *_EDITABLE)
        changed = plan | {name: posted[name] for name in names if name in posted}
        self._check(changed, str(plan["lago_id"]))
        if isinstance(posted.get("charges"), list):
            held = {charge["lago_id"]: charge for charge in charges_of(plan)}
            changed["charges"] = self._charges(posted, held, call.now_us)
        self._catalog.save("plan", changed)
        for subscription in subscriptions:
            price = {"plan_amount_cents": changed["amount_cents"]}
            self._catalog.save("subscription", subscription | price | {"plan": changed})
        return ok({"plan": changed})

    def _find(self, call: Call) -> Document:
        found = self._catalog.find("plan", call.path_id())
        if found is None:
            raise not_found("plan")
        return found

    def _check(self, posted: Params, lago_id: str) -> None:
        problems = params.mandatory({name: params.text(posted.get(name)) for name in _MANDATORY})
        if posted.get("interval") not in INTERVALS:
            problems["interval"] = ["value_is_invalid"]
        if "code" not in problems and self._catalog.is_taken("plan", str(posted["code"]), lago_id):
            problems["code"] = ["value_already_exist"]
        if problems:
            raise invalid(problems)

    def _charges(self, posted: Params, held: Mapping[object, Document], now_us: int) -> list[Document]:
        charges = posted.get("charges")
        found = charges if isinstance(charges, list) else []
        return [
            _repriced(held[charge["id"]], charge)
            if charge.get("id") in held
            else self._charge(charge, now_us)
            for charge in found
            if isinstance(charge, dict)
        ]

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


def _plan_id(subscription: Document) -> object:
    plan = subscription["plan"]
    return plan["lago_id"] if isinstance(plan, dict) else None


def _document(posted: Params) -> Document:
    """Lago's `v1/plan_serializer.rb`, without taxes, commitments and entitlements."""
    return {
        "name": posted["name"],
        "invoice_display_name": posted.get("invoice_display_name"),
        "code": params.text(posted["code"]),
        "interval": posted["interval"],
        "description": posted.get("description"),
        "amount_cents": posted["amount_cents"],
        "amount_currency": posted["amount_currency"],
        "trial_period": posted.get("trial_period"),
        "pay_in_advance": posted.get("pay_in_advance") is True,
        "bill_charges_monthly": posted.get("bill_charges_monthly"),
        "charges": [],
        "taxes": [],
    }


def overridden(plan: Document, overrides: Params) -> Document:
    """Make a subscription's own plan: a child with other prices (Lago: `plans/override_service.rb`)."""
    changes = overrides.get("charges")
    by_id = {change.get("id"): change for change in changes} if isinstance(changes, list) else {}
    own: Document = {
        name: overrides[name] for name in ("name", "amount_cents", "amount_currency") if name in overrides
    }
    return {
        **plan,
        **own,
        "lago_id": new_id(),
        "charges": [_overridden(charge, by_id.get(charge["lago_id"], {})) for charge in charges_of(plan)],
    }


def _overridden(charge: Document, change: Params) -> Document:
    return _repriced(charge, change) | {"lago_id": new_id(), "lago_parent_id": charge["lago_id"]}


def _repriced(charge: Document, change: Params) -> Document:
    check_amount(params.properties(change.get("properties")))
    names = ("properties", "filters", "min_amount_cents", "invoice_display_name")
    return {**charge, **{name: change[name] for name in names if name in change}}
