"""Billing periods: which one a day falls into (Lago: `subscriptions/dates_service.rb`)."""

import calendar
from datetime import date, timedelta

_MONTHS = {"monthly": 1, "quarterly": 3, "semiannual": 6, "yearly": 12}
_A_MONDAY = date(1970, 1, 5)


def current(interval: str, billing_time: str, started: date, day: date) -> tuple[date, date]:
    """The first and last day of the period around `day`.

    Calendar periods begin with a Monday or a first of a month, counted from January; anniversary
    periods begin with the weekday or the day of the month on which the subscription did.
    """
    if interval == "weekly":
        anchor = started if billing_time == "anniversary" else _A_MONDAY
        first = day - timedelta(days=(day - anchor).days % 7)
        return first, first + timedelta(days=6)
    step = _MONTHS[interval]
    anchor = started if billing_time == "anniversary" else date(started.year, 1, 1)
    number = ((day.year - anchor.year) * 12 + day.month - anchor.month) // step
    if _add_months(anchor, number * step) > day:
        number -= 1
    return _add_months(anchor, number * step), _add_months(anchor, (number + 1) * step) - timedelta(days=1)


def _add_months(day: date, months: int) -> date:
    """The same day of another month, or that month's last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
