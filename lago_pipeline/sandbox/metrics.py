"""Billable metrics: what the code of an event stands for."""

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import params
from lago_pipeline.sandbox.answers import Refused, error, invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog, Document, charges_of, new_id
from lago_pipeline.sandbox.expression import EvaluationError, InvalidExpressionError, Subject, parse
from lago_pipeline.sandbox.numbers import plain
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.timestamps import InvalidFormatError, iso_seconds
from lago_pipeline.sandbox.timestamps import parse as parse_timestamp

_AGGREGATIONS = {
    "count_agg",
    "sum_agg",
    "max_agg",
    "unique_count_agg",
    "weighted_sum_agg",
    "latest_agg",
    "custom_agg",
}
_RECURRING = {"sum_agg", "unique_count_agg", "weighted_sum_agg"}
_ALWAYS_EDITABLE = ("name", "description")
_COUNTERS = {"active_subscriptions_count": 0, "draft_invoices_count": 0, "plans_count": 0}


class Metrics:
    """Lago's `api/v1/billable_metrics_controller.rb`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self, api: Api) -> list[Route]:
        """Everything under /billable_metrics."""
        return [
            api.route("GET", "/billable_metrics", self.index),
            api.route("POST", "/billable_metrics", self.create),
            api.route("POST", "/billable_metrics/evaluate_expression", self.evaluate),
            api.route("GET", "/billable_metrics/{code:path}", self.show),
            api.route("PUT", "/billable_metrics/{code:path}", self.update),
            api.route("DELETE", "/billable_metrics/{code:path}", self.destroy),
        ]

    def index(self, call: Call) -> Response:
        """GET /billable_metrics, newest first."""
        found = [metric | _COUNTERS for metric in self._catalog.all("billable_metric")]
        return ok(Page.asked(call.query).of("billable_metrics", found))

    def show(self, call: Call) -> Response:
        """GET /billable_metrics/{code}."""
        return ok({"billable_metric": self._find(call)})

    def destroy(self, call: Call) -> Response:
        """DELETE /billable_metrics/{code}: its events go with it, though their ids stay taken."""
        found = self._find(call)
        self._catalog.delete_metric(found)
        return ok({"billable_metric": found})

    def create(self, call: Call) -> Response:
        """POST /billable_metrics."""
        posted = params.root(call.params, "billable_metric")
        if posted.get("aggregation_type") == "custom_agg":
            raise Refused(error(403, "feature_unavailable"))
        return self._saved(posted, new_id(), iso_seconds(call.now_us))

    def update(self, call: Call) -> Response:
        """PUT /billable_metrics/{code}; a metric of a plan keeps all but its name and description."""
        metric = self._find(call)
        posted = params.root(call.params, "billable_metric")
        names = _ALWAYS_EDITABLE if self._is_in_a_plan(metric) else metric.keys()
        changed = metric | {name: posted[name] for name in names if name in posted}
        return self._saved(changed, str(metric["lago_id"]), str(metric["created_at"]))

    def evaluate(self, call: Call) -> Response:
        """POST /billable_metrics/evaluate_expression: a dry run; nothing is stored."""
        event = params.root(call.params, "event")
        try:
            expression = parse(params.text(call.params.get("expression")) or "")
            timestamp_us = parse_timestamp(event.get("timestamp"), call.now_us)
            properties = params.properties(event.get("properties"))
            code = params.text(event.get("code")) or ""
            value = expression(Subject(code, timestamp_us // 1_000_000, properties))
        except (InvalidExpressionError, InvalidFormatError):
            raise invalid({"expression": ["invalid_expression"]}) from None
        except EvaluationError as failure:
            raise invalid(f"expression_evaluation_failed: {failure}") from None
        return ok({"expression_result": {"value": value if isinstance(value, str) else plain(value)}})

    def _find(self, call: Call) -> Document:
        found = self._catalog.find("billable_metric", call.path_id())
        if found is None:
            raise not_found("billable_metric")
        return found

    def _is_in_a_plan(self, metric: Document) -> bool:
        plans = self._catalog.all("plan")
        charged = {charge["lago_billable_metric_id"] for plan in plans for charge in charges_of(plan)}
        return metric["lago_id"] in charged

    def _saved(self, posted: Params, lago_id: str, created_at: str) -> Response:
        problems = self._problems(posted, lago_id)
        if problems:
            raise invalid(problems)
        metric = {"lago_id": lago_id, "created_at": created_at, **_document(posted)}
        self._catalog.save("billable_metric", metric)
        return ok({"billable_metric": metric})

    def _problems(self, posted: Params, lago_id: str) -> dict[str, list[str]]:
        aggregation = params.text(posted.get("aggregation_type"))
        found = params.mandatory({name: params.text(posted.get(name)) for name in ("name", "code")})
        if "code" not in found and self._catalog.is_taken("billable_metric", str(posted["code"]), lago_id):
            found["code"] = ["value_already_exist"]
        if aggregation not in _AGGREGATIONS:
            found["aggregation_type"] = ["value_is_invalid"]
        elif aggregation != "count_agg" and params.blank(params.text(posted.get("field_name"))):
            found["field_name"] = ["value_is_mandatory"]
        if aggregation == "weighted_sum_agg" and posted.get("weighted_interval") != "seconds":
            found["weighted_interval"] = ["value_is_invalid"]
        if posted.get("recurring") and aggregation not in _RECURRING:
            found["recurring"] = ["not_compatible_with_aggregation_type"]
        if posted.get("expression") and not _parses(str(posted["expression"])):
            found["expression"] = ["invalid_expression"]
        return found


def _parses(expression: str) -> bool:
    try:
        parse(expression)
    except InvalidExpressionError:
        return False
    return True


def _document(posted: Params) -> Document:
    """Lago's `v1/billable_metric_serializer.rb`. Counting needs no field."""
    aggregation = posted["aggregation_type"]
    return {
        "name": posted["name"],
        "code": params.text(posted["code"]),
        "description": posted.get("description"),
        "aggregation_type": aggregation,
        "weighted_interval": posted.get("weighted_interval"),
        "recurring": posted.get("recurring") is True,
        "rounding_function": posted.get("rounding_function"),
        "rounding_precision": posted.get("rounding_precision"),
        "field_name": None if aggregation == "count_agg" else params.text(posted.get("field_name")),
        "expression": posted.get("expression"),
        "filters": posted.get("filters") or [],
    }
