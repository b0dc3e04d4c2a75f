"""What Lago does with events that were posted: the checks in its order, then the insert.

Source: Lago's `events/create_service.rb` (single) and `events/create_batch_service.rb`.
"""

import json
from collections.abc import Sequence
from decimal import Decimal

import orjson

from lago_pipeline.sandbox import params, timestamps
from lago_pipeline.sandbox.answers import Details, crashed, invalid
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.catalog import Catalog
from lago_pipeline.sandbox.expression import EvaluationError, Subject
from lago_pipeline.sandbox.numbers import plain
from lago_pipeline.sandbox.store import DuplicatesError, Event, Store

_TAKEN = {"transaction_id": ["value_already_exist"]}
_BAD_TIMESTAMP = {"timestamp": ["invalid_format"]}

# What PostgreSQL can hold: its calendar in microseconds, numeric(40, 15), a btree entry.
_FIRST_US = -210_866_803_200_000_000
_AMOUNT_END = Decimal(10) ** 25
_INDEXED_BYTES = 2_700


class Ingest:
    """Turns posted parameters into stored events, or into the refusal that Lago would give."""

    def __init__(self, store: Store, catalog: Catalog, batch_max: int) -> None:
        self._store = store
        self._catalog = catalog
        self._batch_max = batch_max
        self._postgres = store.kind == "postgres"
        self.duplicates_refused = 0

    def one(self, posted: Params, now_us: int) -> tuple[Event, int]:
        """Store one event; the first problem found is the whole answer."""
        try:
            event, problem = self._event(posted, now_us)
        except timestamps.InvalidFormatError:
            raise invalid(_BAD_TIMESTAMP) from None
        if problem is not None:
            raise invalid(problem)
        if self._postgres:
            self._check_presence_and_text(event)
            _check_limits([event])
        try:
            return event, self._store.insert([event], now_us)
        except DuplicatesError:
            self.duplicates_refused += 1
            raise invalid(_TAKEN) from None

    def many(self, posted: Sequence[Params], now_us: int, *, partly: bool) -> tuple[list[Event], int]:
        """Store all events of a batch or none; every event with a problem is named by its index.

        `partly` stores what is new in a batch with duplicates, as Lago 1.32.4 to 1.38 did.
        """
        if len(posted) > self._batch_max:
            raise invalid({"events": ["too_many_events"]})
        events = self._valid(posted, now_us)
        if self._postgres:
            _check_limits(events)
        try:
            return events, self._store.insert(events, now_us, partly=partly)
        except DuplicatesError as duplicates:
            self.duplicates_refused += len(duplicates.indexes)
            raise invalid({str(index): _TAKEN for index in duplicates.indexes}) from None

    def _valid(self, posted: Sequence[Params], now_us: int) -> list[Event]:
        events: list[Event] = []
        problems: dict[str, Details] = {}
        for index, item in enumerate(posted):
            try:
                event, problem = self._event(item, now_us)
            except timestamps.InvalidFormatError:
                problems[str(index)] = _BAD_TIMESTAMP
                continue
            problem = _missing(event) or problem
            if problem is not None:
                problems[str(index)] = problem
            events.append(event)
        if problems:
            raise invalid(problems)
        return events

    def _event(self, posted: Params, now_us: int) -> tuple[Event, Details | None]:
        """Cast the parameters, with the problem that a metric's expression had."""
        get = posted.get
        timestamp_us = timestamps.parse(get("timestamp"), now_us)
        if not self._postgres:
            timestamp_us -= timestamp_us % 1000  # DateTime64(3)
        code = params.text(get("code"))
        properties = params.properties(get("properties"))
        problem = self.evaluate(code, timestamp_us, properties)
        event = Event(
            params.text(get("transaction_id")),
            code,
            params.text(get("external_subscription_id")),
            timestamp_us,
            params.amount(get("precise_total_amount_cents")),
            _json(properties),
        )
        return event, problem

    def evaluate(self, code: str | None, timestamp_us: int, properties: dict[str, object]) -> Details | None:
        """Let the metric's expression overwrite its field, or say why it cannot.

        Lago: calculate_expression_service.
        """
        if code not in self._catalog.expressions:
            return None
        field_name, expression = self._catalog.expressions[code]
        try:
            value = expression(Subject(code, timestamp_us // 1_000_000, properties))
        except EvaluationError as failure:
            return f"expression_evaluation_failed: {failure}"
        properties[field_name] = value if isinstance(value, str) else plain(value)
        return None

    def _check_presence_and_text(self, event: Event) -> None:
        missing = _missing(event)
        if missing is not None:
            raise invalid(missing)
        # Ruby's ArgumentError for a NUL is rescued together with that of the timestamp.
        if any("\0" in (field or "") for field in event[:3]):
            raise invalid(_BAD_TIMESTAMP)


def _missing(event: Event) -> Details | None:
    """Lago: `validates :transaction_id, :code, presence: true`."""
    transaction_id, code = event.transaction_id, event.code
    if transaction_id and code and not transaction_id.isspace() and not code.isspace():
        return None
    return params.mandatory({"transaction_id": transaction_id, "code": code})


def _check_limits(events: Sequence[Event]) -> None:
    """Crash where PostgreSQL refuses a row and nobody rescues the error."""
    ids, codes, subscriptions, times, amounts, properties = zip(*events, strict=True)
    if min(times) < _FIRST_US or max(times) >= timestamps.LIMIT_US:
        raise crashed()
    if any("\0" in (text or "") for text in (*ids, *codes, *subscriptions)):
        raise crashed()
    if any(_oversized(text) for text in ids):
        raise crashed()
    if any(amount and abs(Decimal(amount)) >= _AMOUNT_END for amount in amounts):
        raise crashed()
    if any("\\u0000" in text and _holds_nul(json.loads(text)) for text in properties):
        raise crashed()


def _oversized(transaction_id: str) -> bool:
    return len(transaction_id) * 4 > _INDEXED_BYTES < len(transaction_id.encode())


def _holds_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return any(_holds_nul(item) for item in value)
    return isinstance(value, str) and "\0" in value


def _json(properties: dict[str, object]) -> str:
    try:
        return orjson.dumps(properties).decode()
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(properties, ensure_ascii=False, separators=(",", ":"))
