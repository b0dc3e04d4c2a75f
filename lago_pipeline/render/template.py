"""An event template: Lago's fields, each with the slot that fills it."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from lago_pipeline.errors import TemplateError
from lago_pipeline.refusals import ProblemError
from lago_pipeline.render.compiled import CompiledTemplate, compiled_template
from lago_pipeline.render.liquid import LiquidEnvironment
from lago_pipeline.render.pasted import BarePlaceholder, QuotedText, read_pasted
from lago_pipeline.render.pointing import Place
from lago_pipeline.render.slot import Literal, Slot, parse_slot, slot_columns
from lago_pipeline.sync import Sync
from lago_pipeline.values import is_storable, value_text

_FIELDS = {
    "code",
    "external_subscription_id",
    "transaction_id",
    "timestamp",
    "precise_total_amount_cents",
    "properties",
}
_REQUIRED = ("code", "external_subscription_id")
_DROPPED = {
    "external_customer_id": "Lago drops it and bills nothing: write external_subscription_id, the id of the "
    "subscription that pays",
    "customer_id": "Lago drops it: write external_subscription_id, the id of the subscription that pays",
    "subscription_id": "Lago drops it: write external_subscription_id",
    "lago_subscription_id": "Lago drops it: write external_subscription_id",
    "metadata": "Lago drops it: write properties",
}
_RENDER_VERSION = 1
"""Raised whenever the same row and template would give other bytes than before."""


@dataclass(frozen=True, slots=True)
class EventTemplate:
    """The slots of one event; `hash` changes whenever the same rows would give other events."""

    code: Slot
    external_subscription_id: Slot
    transaction_id: Slot | None
    timestamp: Slot | None
    precise_total_amount_cents: Slot | None
    properties: Mapping[str, Slot]
    hash: str
    columns: Mapping[str, Place]
    compiled: CompiledTemplate

    @property
    def literal_code(self) -> str | None:
        """The billable metric's code where it is the same for every row."""
        return value_text(self.code.constant) if isinstance(self.code, Literal) else None

    def check_columns(self, columns: Sequence[str], needed: Sequence[str] = ()) -> None:
        """Raise TemplateError where the template, or the sync itself, names a column the source lacks."""
        for column in sorted({*self.columns, *needed} - set(columns)):
            folded = {name.casefold(): name for name in columns}
            close = difflib.get_close_matches(column.casefold(), folded, n=1)
            hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
            words = f"the source has no column {column!r}{hint}"
            allowed = f" (its columns: {', '.join(columns)})"
            if column in self.columns:
                raise self.columns[column].error(words, allowed)
            raise TemplateError(f"{words}{allowed}")


def event_template(sync: Sync) -> EventTemplate:
    """The parsed template of a sync; raises TemplateError, naming the field and what is allowed."""
    if not is_storable(sync.transaction_id_prefix):
        raise TemplateError("transaction_id_prefix holds a NUL or half character")
    fields = read_pasted(sync.event) if isinstance(sync.event, str) else sync.event
    _check_fields(fields)
    environment = LiquidEnvironment(sync.source.timezone)
    slots = {name: _slot(value, f"event.{name}", environment) for name, value in _scalars(fields)}
    properties = {
        name: _slot(value, f"event.properties.{name}", environment)
        for name, value in _properties(fields).items()
    }
    return EventTemplate(
        code=slots["code"],
        external_subscription_id=slots["external_subscription_id"],
        transaction_id=slots.get("transaction_id"),
        timestamp=slots.get("timestamp"),
        precise_total_amount_cents=slots.get("precise_total_amount_cents"),
        properties=properties,
        hash=_hash(sync),
        columns={
            name: place
            for slot in (*properties.values(), *slots.values())
            for name, place in slot_columns(slot).items()
        },
        compiled=compiled_template(sync, slots, properties),
    )


def _check_fields(fields: Mapping[str, object]) -> None:
    for name in fields:
        if name in _DROPPED:
            raise TemplateError(f"event.{name}: {_DROPPED[name]}")
        if name not in _FIELDS:
            close = difflib.get_close_matches(str(name), sorted(_FIELDS), n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise TemplateError(
                f"event.{name}: Lago drops this field: {hint}Allowed are {', '.join(sorted(_FIELDS))}; "
                "anything else belongs under properties"
            )
    for name in _REQUIRED:
        value = fields.get(name)
        text = value.liquid if isinstance(value, QuotedText) else value
        if text is None or (isinstance(text, str) and not text.strip()):
            raise TemplateError(f"event.{name} is missing: Lago takes the event and never bills it without")


def _scalars(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    return ((name, value) for name, value in fields.items() if name != "properties" and value is not None)


def _properties(fields: Mapping[str, object]) -> Mapping[str, object]:
    properties = fields.get("properties")
    if properties is None:
        return {}
    if not isinstance(properties, Mapping):
        raise TemplateError("event.properties must be a mapping of names to Liquid: Lago drops anything else")
    for name in properties:
        _check_name(name)
    return properties


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TemplateError(f"event.properties: the name {name!r} is no text: write it in quotes")
    if "{{" in name or "{%" in name:
        raise TemplateError(f"event.properties: the name {name!r} cannot hold Liquid: only values can")
    if not is_storable(name):
        raise TemplateError(f"event.properties: the name {name!r} holds a NUL or half character")


def _slot(value: object, where: str, environment: LiquidEnvironment) -> Slot:
    match value:
        case QuotedText():
            return parse_slot(value.liquid, where, environment, typed=False)
        case BarePlaceholder():
            return parse_slot(value.liquid, where, environment, typed=True)
        case str():
            return parse_slot(value, where, environment, typed=True)
        case Mapping() | list():
            raise TemplateError(f"{where} must be one value: Lago's properties are flat strings")
        case _:
            return _literal(value, where)


def _literal(value: object, where: str) -> Literal:
    try:
        value_text(value)
    except ProblemError as error:
        raise TemplateError(f"{where}: {error.problem}: write text, a number or a date") from None
    return Literal(value)


def _hash(sync: Sync) -> str:
    declared = [
        _RENDER_VERSION,
        sync.event,
        sync.transaction_id_prefix,
        sync.source.primary_key,
        sync.source.time_column,
        sync.source.timezone.key,
    ]
    return blake2b(json.dumps(declared, default=str).encode(), digest_size=16).hexdigest()
