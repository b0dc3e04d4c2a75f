"""Why a row cannot become a billed event: every reason, and what a person should do about it."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A word that the ledger, the logs and the plots use for one kind of refusal."""

    MISSING_PRIMARY_KEY = "missing_primary_key"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    MISSING_CODE = "missing_code"
    MISSING_SUBSCRIPTION = "missing_external_subscription_id"
    MISSING_TRANSACTION_ID = "missing_transaction_id"
    TRANSACTION_ID_TOO_LONG = "transaction_id_too_long"
    INVALID_TIMESTAMP = "invalid_timestamp"
    TIMESTAMP_IN_MILLISECONDS = "timestamp_in_milliseconds"
    TIMESTAMP_OUTSIDE_PARTITION = "timestamp_outside_partition"
    INVALID_CHARACTER = "invalid_character"
    NOT_A_NUMBER = "not_a_number"
    UNSUPPORTED_VALUE = "unsupported_value"
    TEMPLATE_ERROR = "template_error"
    BILLED_ELSEWHERE = "billed_in_another_partition"
    REFUSED_BY_LAGO = "refused_by_lago"
    DIFFERENT_EVENT = "different_event_under_this_id"
    HIDDEN_EVENT = "id_taken_by_a_deleted_event"


REMEDIES: dict[Reason, str] = {
    Reason.MISSING_PRIMARY_KEY: "give every row a primary key, or name other columns in source.primary_key",
    Reason.DUPLICATE_KEY: "make source.primary_key unique, or aggregate the rows in source.query",
    Reason.MISSING_FIELD: "fill the column, or give the template a default",
    Reason.MISSING_CODE: "give every row the code of a billable metric",
    Reason.MISSING_SUBSCRIPTION: "give every row the external id of the subscription that pays for it",
    Reason.MISSING_TRANSACTION_ID: "give every row a transaction id, or leave event.transaction_id out",
    Reason.TRANSACTION_ID_TOO_LONG: "use a shorter primary key: Lago's index refuses very long ids",
    Reason.INVALID_TIMESTAMP: "store timestamps as ISO 8601, as a datetime or as epoch seconds",
    Reason.TIMESTAMP_IN_MILLISECONDS: "divide by 1000: Lago reads seconds and would bill the year 50000",
    Reason.TIMESTAMP_OUTSIDE_PARTITION: "let event.timestamp be the time column, so that partitions match",
    Reason.INVALID_CHARACTER: "remove the NUL character: Lago's database cannot store it",
    Reason.NOT_A_NUMBER: "replace NaN and infinity: no price can be put on them",
    Reason.UNSUPPORTED_VALUE: "cast the column to text or a number in source.query",
    Reason.TEMPLATE_ERROR: "correct the row, or guard the expression in the template",
    Reason.BILLED_ELSEWHERE: "make source.primary_key unique over all time, or decide about the moved row",
    Reason.REFUSED_BY_LAGO: "correct the row or the billable metric; Lago's words say which",
    Reason.DIFFERENT_EVENT: "two rows share one transaction id, or the row changed after it was billed",
    Reason.HIDDEN_EVENT: "Lago keeps the id of a deleted event: send it by a sync of another name and prefix",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one row cannot be billed: the reason's word and what was seen, shortened, and in which field."""

    reason: Reason
    detail: str
    field: str | None = None

    def __str__(self) -> str:
        return f"{self.words} in {self.field}" if self.field else self.words

    @property
    def words(self) -> str:
        """The problem without its field."""
        return f"{self.reason}: {self.detail}"


class ProblemError(ValueError):
    """Raised while one row is rendered; caught there, so that the row is carried with its problem."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.problem = Problem(reason, detail)

    def within(self, field: str) -> Self:
        """The same, told with the field of the event that has the problem."""
        self.problem = replace(self.problem, field=field)
        return self


def shortened(value: object, limit: int = 60) -> str:
    """A value as one short line for a message; never a whole body."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
