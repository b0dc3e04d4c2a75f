"""POST /events/estimate_fees: Lago's only check of an event against its catalogue; nothing is stored.

Source: Lago's `fees/estimate_pay_in_advance_service.rb`, `events/validate_creation_service.rb`.
"""

from decimal import ROUND_HALF_UP, Decimal

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import lifecycle, params, timestamps
from lago_pipeline.sandbox.answers import invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog, Document, charges_of
from lago_pipeline.sandbox.ingest import Ingest
from lago_pipeline.sandbox.numbers import plain, strict

_NUMERIC = {"max_agg", "sum_agg", "latest_agg"}


class Estimates:
    """What an event would cost at once, were it sent now."""

    def __init__(self, catalog: Catalog, ingest: Ingest) -> None:
        self._catalog = catalog
        self._ingest = ingest

    def routes(self, api: Api) -> list[Route]:
        """The one endpoint."""
        return [api.route("POST", "/events/estimate_fees", self.estimate)]

    def estimate(self, call: Call) -> Response:
        """POST /events/estimate_fees: the first problem found is the whole answer."""
        posted = params.root(call.params, "event")
        subscription = self._subscription(posted, call.now_us)
        _check_timestamp(posted, call.now_us)
        metric = self._catalog.find("billable_metric", params.text(posted.get("code")) or "")
        if metric is None:
            raise not_found("billable_metric")
        properties = params.properties(posted.get("properties"))
        value = properties.get(str(metric["field_name"]))
        if metric["aggregation_type"] in _NUMERIC and value is not None and _number(value) is None:
            raise invalid({"properties": ["value_is_not_valid_number"]})
        problem = self._ingest.evaluate(str(metric["code"]), call.now_us, properties)
        if problem is not None:
            raise invalid(problem)
        charges = _instant_charges(subscription, metric)
        if not charges:
            raise invalid({"code": ["does_not_match_an_instant_charge"]})
        units = _units(metric, properties)
        return ok({"fees": [_fee(charge, metric, subscription, units) for charge in charges]})

    def _subscription(self, posted: Params, now_us: int) -> Document:
        """The one that runs now, whatever the event's time."""
        name = params.text(posted.get("external_subscription_id")) or ""
        for found in self._catalog.named("subscription", name):
            if lifecycle.covers(found, now_us):
                return found
        raise not_found("subscription")


def _check_timestamp(posted: Params, now_us: int) -> None:
    try:
        timestamps.parse(posted.get("timestamp") or None, now_us)
    except timestamps.InvalidFormatError:
        raise invalid({"timestamp": ["invalid_format"]}) from None


def _number(value: object) -> Decimal | None:
    return strict(params.text(value) or "")


def _units(metric: Document, properties: Params) -> Decimal:
    """What the event adds; counting and unique counting take it for one."""
    if metric["aggregation_type"] not in _NUMERIC | {"weighted_sum_agg"}:
        return Decimal(1)
    return _number(properties.get(str(metric["field_name"]))) or Decimal(0)


def _instant_charges(subscription: Document, metric: Document) -> list[Document]:
    return [
        charge
        for charge in charges_of(subscription["plan"])
        if charge["pay_in_advance"] and charge["billable_metric_code"] == metric["code"]
    ]


def _fee(charge: Document, metric: Document, subscription: Document, units: Decimal) -> Document:
    """Lago's `v1/fee_serializer.rb` for a standard charge without taxes."""
    prices = params.properties(charge["properties"])
    price = Decimal(str(prices.get("amount", "0")))
    precise = units * price * 100
    cents, currency = int(precise.to_integral_value(ROUND_HALF_UP)), subscription["plan_amount_currency"]
    return {
        "lago_id": None,
        "lago_charge_id": charge["lago_id"],
        "lago_invoice_id": None,
        "lago_subscription_id": subscription["lago_id"],
        "external_subscription_id": subscription["external_id"],
        "lago_customer_id": subscription["lago_customer_id"],
        "external_customer_id": subscription["external_customer_id"],
        "item": {
            "type": "charge",
            "code": metric["code"],
            "name": metric["name"],
            "invoice_display_name": charge["invoice_display_name"] or metric["name"],
            "lago_item_id": metric["lago_id"],
            "item_type": "BillableMetric",
        },
        "pay_in_advance": True,
        "invoiceable": charge["invoiceable"],
        "amount_cents": cents,
        "amount_currency": currency,
        "precise_amount": plain(precise / 100),
        "taxes_amount_cents": 0,
        "taxes_rate": 0,
        "total_amount_cents": cents,
        "total_amount_currency": currency,
        "sub_total_excluding_taxes_amount_cents": cents,
        "sub_total_excluding_taxes_precise_amount_cents": plain(precise),
        "units": plain(units),
        "total_aggregated_units": plain(units),
        "precise_unit_amount": plain(price),
        "events_count": 1,
        "payment_status": "pending",
        "event_transaction_id": None,
        "applied_taxes": [],
    }
