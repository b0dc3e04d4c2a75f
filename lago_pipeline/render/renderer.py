"""One usage row to one event: the template's values, under Lago's rules for a single event."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from lago_pipeline.event import Event, default_transaction_id
from lago_pipeline.partition import Partition
from lago_pipeline.refusals import Problem, ProblemError, Reason, shortened
from lago_pipeline.render.rules import MAX_TRANSACTION_ID_BYTES, amount_text, check_characters
from lago_pipeline.render.slot import Row, Slot
from lago_pipeline.render.template import EventTemplate
from lago_pipeline.sync import Sync
from lago_pipeline.values import (
    plausible_timestamp_ms,
    property_text,
    seconds_text,
    value_text,
)


@dataclass(frozen=True, slots=True)
class EventRenderer:
    """Renders the rows of one partition; a pure function of row, template and partition."""

    sync: Sync
    template: EventTemplate
    partition: Partition

    def event(self, row_key: str, row: Row) -> Event:
        """The event of a row that has a primary key of its own."""
        try:
            return self._rendered(row_key, row)
        except ProblemError as error:
            return self.refused(row_key, 0, row, error.problem)

    def refused(self, row_key: str, event_index: int, row: Row, problem: Problem) -> Event:
        """A row that cannot become an event, with what is known of it."""
        return Event(
            row_key=row_key,
            event_index=event_index,
            transaction_id=None,
            code=self._known(self.template.code, row),
            external_subscription_id=self._known(self.template.external_subscription_id, row),
            timestamp_ms=None,
            properties=None,
            body=None,
            fingerprint=_fingerprint(problem.words.encode(errors="backslashreplace"), repr(row).encode()),
            problem=str(problem),
        )

    def _rendered(self, row_key: str, row: Row) -> Event:
        code = _identifier(self.template.code, row, Reason.MISSING_CODE)
        subscription = _identifier(self.template.external_subscription_id, row, Reason.MISSING_SUBSCRIPTION)
        transaction_id = self._transaction_id(row_key, code, row)
        instant = self._timestamp_ms(row)
        properties = orjson.dumps(self._properties(row))
        body = _body(transaction_id, subscription, code, instant, self._amount(row), properties)
        return Event(
            row_key,
            0,
            transaction_id,
            code,
            subscription,
            instant,
            properties.decode(),
            body,
            _fingerprint(body),
            None,
        )

    def _transaction_id(self, row_key: str, code: str, row: Row) -> str:
        if self.template.transaction_id is None:
            transaction_id = default_transaction_id(self.sync.transaction_id_prefix, code, row_key)
            check_characters(transaction_id, "transaction_id")
        else:
            transaction_id = _identifier(self.template.transaction_id, row, Reason.MISSING_TRANSACTION_ID)
        if len(transaction_id.encode()) > MAX_TRANSACTION_ID_BYTES:
            raise ProblemError(Reason.TRANSACTION_ID_TOO_LONG, shortened(transaction_id))
        return transaction_id

    def _timestamp_ms(self, row: Row) -> int:
        slot = self.template.timestamp
        with _told("timestamp"):
            value = slot.value(row) if slot else row[self.sync.source.time_column]
        instant = plausible_timestamp_ms(value, self.sync.source.timezone)
        if not self.partition.holds(instant):
            raise ProblemError(
                Reason.TIMESTAMP_OUTSIDE_PARTITION, f"{shortened(str(value))} is not in {self.partition.key}"
            )
        return instant

    def _properties(self, row: Row) -> dict[str, str]:
        values = ((name, _property(name, slot, row)) for name, slot in self.template.properties.items())
        properties = {name: value for name, value in values if value is not None}
        for name, value in properties.items():
            check_characters(value, f"properties.{name}")
        return properties

    def _amount(self, row: Row) -> str | None:
        slot = self.template.precise_total_amount_cents
        with _told("precise_total_amount_cents"):
            return amount_text(slot.value(row)) if slot else None

    def _known(self, slot: Slot, row: Row) -> str | None:
        try:
            text = value_text(slot.value(row)).replace("\x00", "�")
            return text.encode(errors="replace").decode() or None
        except ProblemError:
            return None


def _identifier(slot: Slot, row: Row, missing: Reason) -> str:
    field = missing.removeprefix("missing_")
    with _told(field):
        value = slot.value(row)
        text = "" if value is None else value_text(value)
    if not text.strip():
        raise ProblemError(missing, f"the value is {shortened(value)}")
    check_characters(text, field)
    return text


def _property(name: str, slot: Slot, row: Row) -> str | None:
    with _told(f"properties.{name}"):
        return property_text(slot.value(row))


@contextmanager
def _told(field: str) -> Iterator[None]:
    """Problems within are told with their field."""
    try:
        yield
    except ProblemError as error:
        raise error.within(field) from None


def _body(
    transaction_id: str, subscription: str, code: str, instant_ms: int, amount: str | None, properties: bytes
) -> bytes:
    fields: dict[str, object] = {
        "transaction_id": transaction_id,
        "external_subscription_id": subscription,
        "code": code,
        "timestamp": seconds_text(instant_ms),
    }
    if amount is not None:
        fields["precise_total_amount_cents"] = amount
    fields["properties"] = orjson.Fragment(properties)
    return orjson.dumps(fields)


def _fingerprint(*parts: bytes) -> bytes:
    return blake2b(b"\x00".join(parts), digest_size=16).digest()
