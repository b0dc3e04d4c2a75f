"""What becomes of a subscription: its document, and how time and changes of plan move it.

Source: Lago's `subscriptions/create_service.rb`, `v1/subscription_serializer.rb`.
"""

from datetime import UTC, date, datetime, timedelta

from lago_pipeline.sandbox import params, periods
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Document, new_id
from lago_pipeline.sandbox.timestamps import from_iso, iso_ms, iso_seconds


def started(posted: Params, customer: Document, plan: Document, now_us: int) -> Document:
    """Make a subscription that begins at `subscription_at`, or now."""
    begins = _moment(posted.get("subscription_at"))
    begins = now_us if begins is None else begins
    ends = _moment(posted.get("ending_at"))
    return {
        "lago_id": new_id(),
        "external_id": params.text(posted["external_id"]),
        "lago_customer_id": customer["lago_id"],
        "external_customer_id": customer["external_id"],
        "name": posted.get("name"),
        "plan_code": plan["code"],
        "plan_amount_cents": plan["amount_cents"],
        "plan_amount_currency": plan["amount_currency"],
        "status": "pending",
        "billing_time": posted.get("billing_time") or "calendar",
        "subscription_at": iso_seconds(begins),
        "started_at": iso_ms(begins),
        "ending_at": None if ends is None else iso_seconds(ends),
        "terminated_at": None,
        "canceled_at": None,
        "created_at": iso_seconds(now_us),
        "previous_plan_code": None,
        "next_plan_code": None,
        "downgrade_plan_date": None,
        "trial_ended_at": None,
        "on_termination_credit_note": posted.get("on_termination_credit_note"),
        "on_termination_invoice": posted.get("on_termination_invoice") or "generate",
        "plan": plan,
    }


def at(subscription: Document, now_us: int) -> Document:
    """See a subscription at a moment: Lago's clock starts, downgrades and ends it in time."""
    begins, ends = _moment(subscription["started_at"]), _end(subscription)
    if subscription["canceled_at"]:
        return subscription | {"status": "canceled", "started_at": None} | _no_period()
    if ends is not None and ends <= now_us:
        return subscription | {"status": "terminated", "terminated_at": iso_seconds(ends)} | _no_period()
    if begins is None or begins > now_us:
        return subscription | {"status": "pending", "started_at": None} | _no_period()
    return subscription | {"status": "active"} | _period(subscription, begins, now_us)


def covers(subscription: Document, timestamp_us: int) -> bool:
    """Tell whether an event of this time is its usage (Lago: `events/post_process_service.rb`)."""
    begins, ends = _moment(subscription["started_at"]), _end(subscription)
    if subscription["canceled_at"] or begins is None:
        return False
    return begins <= timestamp_us and (ends is None or timestamp_us <= ends)


def terminated(subscription: Document, now_us: int) -> Document:
    """End it now."""
    return subscription | {"terminated_at": iso_ms(now_us)}


def upgrade(current: Document, new: Document, now_us: int) -> Document:
    """Begin a dearer plan at once, in the billing rhythm of the current one."""
    return new | {
        "previous_plan_code": current["plan_code"],
        "subscription_at": current["subscription_at"],
        "billing_time": current["billing_time"],
        "started_at": iso_ms(now_us),
    }


def downgrade(current: Document, new: Document) -> tuple[Document, Document]:
    """Let a cheaper plan follow when the current period ends."""
    last = date.fromisoformat(str(current["current_billing_period_ending_at"])[:10])
    turn = (last + timedelta(days=1)).isoformat()
    following = new | {
        "previous_plan_code": current["plan_code"],
        "subscription_at": current["subscription_at"],
        "started_at": f"{turn}T00:00:00.000Z",
    }
    return current | {"next_plan_code": new["plan_code"], "downgrade_plan_date": turn}, following


def price(subscription: Document) -> float:
    """What its plan costs a month, which decides between upgrade and downgrade."""
    plan = subscription["plan"]
    interval = plan["interval"] if isinstance(plan, dict) else "monthly"
    months = {"weekly": 12 / 52, "monthly": 1, "quarterly": 3, "semiannual": 6, "yearly": 12}
    return float(str(subscription["plan_amount_cents"])) / months[str(interval)]


def _end(subscription: Document) -> int | None:
    names = ("terminated_at", "ending_at", "downgrade_plan_date")
    ends = [_moment(subscription[name]) for name in names if subscription[name]]
    return min((end for end in ends if end is not None), default=None)


def _period(subscription: Document, begins: int, now_us: int) -> Document:
    plan = subscription["plan"]
    interval = str(plan["interval"]) if isinstance(plan, dict) else "monthly"
    anchor = date.fromisoformat(str(subscription["subscription_at"])[:10])
    today = datetime.fromtimestamp(now_us // 1_000_000, UTC).date()
    first, last = periods.current(interval, str(subscription["billing_time"]), anchor, today)
    opened = _moment(first.isoformat()) or 0
    return {
        "current_billing_period_started_at": iso_seconds(max(opened, begins)),
        "current_billing_period_ending_at": f"{last.isoformat()}T23:59:59Z",
    }


def _no_period() -> Document:
    return {"current_billing_period_started_at": None, "current_billing_period_ending_at": None}


def _moment(value: object) -> int | None:
    return from_iso(str(value)) if value else None
