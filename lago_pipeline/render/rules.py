"""Lago's rules for one event, as far as they look at one value."""

from lago_pipeline.refusals import ProblemError, Reason, shortened
from lago_pipeline.values import is_storable, number, number_text

MAX_TRANSACTION_ID_BYTES = 2000
"""Lago's unique index refuses ids of about 2,700 bytes with a 500 (LAGO.md 1.1)."""

_MAX_AMOUNT = 10**25


def amount_text(value: object) -> str | None:
    """An amount as an exact plain decimal, or None where it must be left out; raises ProblemError."""
    if value is None:
        return None
    amount = number(value)
    if not -_MAX_AMOUNT < amount < _MAX_AMOUNT:
        raise ProblemError(Reason.NOT_A_NUMBER, f"precise_total_amount_cents {shortened(amount)} is too big")
    return number_text(amount)


def check_characters(text: str, field: str) -> None:
    """Lago: PostgreSQL's jsonb refuses NUL with a 500, for ever (LAGO.md 1.6); UTF-8 has no surrogates."""
    if not is_storable(text):
        raise ProblemError(Reason.INVALID_CHARACTER, f"a NUL or half character in {field}: {shortened(text)}")
