"""Subscriptions: who is billed by which plan, since when and until when."""

from starlette.responses import Response
from starlette.routing import Route

from lago_pipeline.sandbox import customers, lifecycle, params
from lago_pipeline.sandbox.answers import invalid, not_found, ok
from lago_pipeline.sandbox.api import Api, Call
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog, Document
from lago_pipeline.sandbox.pagination import Page
from lago_pipeline.sandbox.plans import overridden
from lago_pipeline.sandbox.timestamps import from_iso, iso_seconds

_STATUSES = {"pending", "active", "terminated", "canceled", "incomplete"}


class Subscriptions:
    """Lago's `api/v1/subscriptions_controller.rb`."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def routes(self, api: Api) -> list[Route]:
        """Everything under /subscriptions."""
        return [
            api.route("GET", "/subscriptions", self.index),
            api.route("POST", "/subscriptions", self.create),
            api.route("GET", "/subscriptions/{external_id:path}", self.show),
            api.route("DELETE", "/subscriptions/{external_id:path}", self.terminate),
        ]

    def index(self, call: Call) -> Response:
        """GET /subscriptions: the active ones, unless `status[]` names only known others."""
        asked = call.request.query_params.getlist("status[]") or ["active"]
        statuses = _STATUSES if set(asked) - _STATUSES else set(asked)
        found = [now for now in self._all(call.now_us) if now["status"] in statuses]
        for name in ("external_id", "external_customer_id", "plan_code"):
            if call.query.get(name):
                found = [subscription for subscription in found if subscription[name] == call.query[name]]
        return ok(Page.asked(call.query).of("subscriptions", [_without_plan(entry) for entry in found]))

    def show(self, call: Call) -> Response:
        """GET /subscriptions/{external_id}?status=, with the plan that really applies."""
        return ok({"subscription": self._find(call, call.query.get("status") or "active")})

    def terminate(self, call: Call) -> Response:
        """DELETE /subscriptions/{external_id}: ends the active one now."""
        ended = lifecycle.terminated(self._find(call, "active"), call.now_us)
        self._catalog.save("subscription", ended)
        return ok({"subscription": _without_plan(lifecycle.at(ended, call.now_us))})

    def create(self, call: Call) -> Response:
        """POST /subscriptions: a new one, the existing one, or a change of its plan."""
        posted = params.root(call.params, "subscription")
        external_id = self._checked(posted)
        plan = self._catalog.find("plan", params.text(posted.get("plan_code")) or "")
        if plan is None:
            raise not_found("plan")
        customer_id = str(params.text(posted["external_customer_id"]))
        current = self._living(external_id, call.now_us)
        if current and current["external_customer_id"] != customer_id:
            raise invalid({"external_id": ["value_already_exist"]})
        if isinstance(posted.get("plan_overrides"), dict):
            plan = overridden(plan, _object(posted["plan_overrides"]))
        customer = customers.upsert(self._catalog, customer_id, {}, call.now_us)
        new = lifecycle.started(posted, customer, plan, call.now_us)
        subscription = self._changed(current, new, call.now_us) if current else self._saved(new)
        return ok({"subscription": lifecycle.at(subscription, call.now_us)})

    def _checked(self, posted: Params) -> str:
        names = ("external_id", "external_customer_id")
        problems = params.mandatory({name: params.text(posted.get(name)) for name in names})
        for name in ("subscription_at", "ending_at"):
            if posted.get(name) and from_iso(str(posted[name])) is None:
                problems[name] = ["invalid_date"]
        if problems:
            raise invalid(problems)
        return str(params.text(posted["external_id"]))

    def _changed(self, current: Document, new: Document, now_us: int) -> Document:
        """Keep the same plan, upgrade now, or downgrade when the period ends."""
        if current["plan_code"] == new["plan_code"]:
            return current
        if current["status"] == "pending":
            return self._saved(new | {"lago_id": current["lago_id"]})
        self._cancel_followers(current, now_us)
        if lifecycle.price(new) < lifecycle.price(current):
            later, then = lifecycle.downgrade(current, new)
            self._saved(then)
            return self._saved(later)
        self._saved(lifecycle.terminated(current, now_us) | {"next_plan_code": new["plan_code"]})
        return self._saved(lifecycle.upgrade(current, new, now_us))

    def _cancel_followers(self, current: Document, now_us: int) -> None:
        """Forget the change of plan that was waiting for the period's end."""
        for found in self._catalog.named("subscription", str(current["external_id"])):
            if lifecycle.at(found, now_us)["status"] == "pending":
                self._saved(found | {"canceled_at": iso_seconds(now_us)})

    def _saved(self, subscription: Document) -> Document:
        self._catalog.save("subscription", subscription)
        return subscription

    def _all(self, now_us: int) -> list[Document]:
        return [lifecycle.at(found, now_us) for found in self._catalog.all("subscription")]

    def _find(self, call: Call, status: str) -> Document:
        for found in self._catalog.named("subscription", call.path_id()):
            now = lifecycle.at(found, call.now_us)
            if now["status"] == status:
                return now
        raise not_found("subscription")

    def _living(self, external_id: str, now_us: int) -> Document | None:
        named = [lifecycle.at(found, now_us) for found in self._catalog.named("subscription", external_id)]
        order = {"active": 0, "pending": 1}
        living = [found for found in named if found["status"] in order]
        return min(living, key=lambda found: order[str(found["status"])], default=None)


def _object(value: object) -> Params:
    return value if isinstance(value, dict) else {}


def _without_plan(subscription: Document) -> Document:
    return {name: value for name, value in subscription.items() if name != "plan"}
