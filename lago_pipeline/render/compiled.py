"""An event template as one Python function over many rows.

The function renders a row where everything about it is as it should be, and leaves it otherwise: such a row
is rendered again by python-liquid (`EventRenderer`), which finds its problem, or its event after all. So a
compiled template may be strict, and need not know how any error is told.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from textwrap import indent
from typing import Any

import orjson

from lago_pipeline.event import EventColumns, default_transaction_id
from lago_pipeline.render.expressions import Expressions, Term
from lago_pipeline.render.function_source import FunctionSource, Uncovered
from lago_pipeline.render.inputs import Form
from lago_pipeline.render.nodes import Nodes
from lago_pipeline.render.rules import MAX_TRANSACTION_ID_BYTES, amount_text
from lago_pipeline.render.slot import Column, Literal, Placeholder, Slot, Text
from lago_pipeline.sync import Sync
from lago_pipeline.values import number_text, plausible_timestamp_ms, property_text, seconds_text, value_text

Rendered = tuple[EventColumns, list[int]]
"""The events, and the indexes of the rows that were left: their events are not filled in."""


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """The function, and what it takes: the bounds of the rows' times, their keys, and columns as in `inputs`.

    `uncovered` names the fields whose Liquid python-liquid renders by itself within the function.
    """

    render: Callable[..., Rendered]
    inputs: Sequence[tuple[str, Form]]
    uncovered: Sequence[str]
    source: str = field(repr=False)

    @property
    def way(self) -> str:
        """How rows are rendered, for a log or a table: wholly compiled, or some fields by python-liquid."""
        return (
            f"compiled, but python-liquid for {', '.join(self.uncovered)}" if self.uncovered else "compiled"
        )


def compiled_template(
    sync: Sync, fields: Mapping[str, Slot], properties: Mapping[str, Slot]
) -> CompiledTemplate:
    """Compile the slots of an event: Lago's fields and the properties, by name."""
    return _Compilation(sync).compiled(fields, properties)


class _Compilation:
    """The function in the making."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync
        self._source = FunctionSource()
        self._inputs: dict[tuple[str, Form], str] = {}
        self._uncovered: list[str] = []

    def compiled(self, fields: Mapping[str, Slot], properties: Mapping[str, Slot]) -> CompiledTemplate:
        """Write the function's body, then its head, which names the columns that turned out to be needed."""
        code = self._identifier("code", fields["code"])
        subscription = self._identifier("external_subscription_id", fields["external_subscription_id"])
        transaction_id = self._transaction_id(fields.get("transaction_id"), code)
        instant, stamp = self._instant(fields.get("timestamp"))
        amount = self._amount(fields.get("precise_total_amount_cents"))
        sent = self._properties(properties)
        self._body(transaction_id, subscription, code, stamp, amount, sent)
        shown = {
            "transaction_id": transaction_id,
            "code": code.source,
            "external_subscription_id": subscription.source,
            "timestamp_ms": instant,
        }
        text = self._function(shown, constant=("code",) if code.is_constant else ())
        namespace = {**_NAMES, **self._source.constants}
        exec(compile(text, f"<template of {self._sync.name}>", "exec"), namespace)  # noqa: S102 - our own text
        render: Any = namespace["render"]
        return CompiledTemplate(render, tuple(self._inputs), tuple(self._uncovered), text)

    def _input(self, column: str, form: Form) -> str:
        return self._inputs.setdefault((column, form), f"c{len(self._inputs)}")

    def _term(self, where: str, slot: Slot) -> Term:
        """The value of a slot, from python-liquid itself where the compiler does not cover it."""
        match slot:
            case Literal():
                return Term(self._source.constant(slot.constant), slot.constant)
            case Column():
                return Term(self._input(slot.name, Form.EXACT), is_row=True)
            case Placeholder() | Text():
                return self._liquid(where, slot)
        raise TypeError(slot)

    def _liquid(self, where: str, slot: Placeholder | Text) -> Term:
        try:
            with self._source.taken_back():
                if isinstance(slot, Text):
                    return Nodes(self._source, slot.template, self._exact).text()
                return Expressions(self._source, slot.template, self._exact).term(slot.expression)
        except (Uncovered, RecursionError):
            self._uncovered.append(where)
            row = ", ".join(f"{name!r}: {self._input(name, Form.VALUE)}" for name in sorted(slot.columns))
            return Term(self._source.once(f"{self._source.constant(slot.value)}({{{row}}})"))

    def _exact(self, column: str) -> str:
        return self._input(column, Form.EXACT)

    def _identifier(self, where: str, slot: Slot) -> Term:
        """A text that is not blank."""
        if isinstance(slot, Column):
            name = self._input(slot.name, Form.TEXT)
        else:
            term = self._term(where, slot)
            if term.is_constant:
                text = self._constant(value_text, term) or ""
                if not text.strip():
                    self._source.line("raise ValueError")
                return Term(self._source.constant(text), text)
            name = self._source.once(
                f"{term.source} if type({term.source}) is str else value_text({term.source})"
            )
        self._source.line(f"if not {name}.strip(): raise ValueError")
        return Term(name)

    def _constant(self, spelled: Callable[[object], str | None], term: Term) -> str | None:
        """A constant as text; where it has none, every row is refused, in python-liquid's words."""
        try:
            return spelled(term.constant)
        except ValueError:
            self._source.line("raise ValueError")
            return None

    def _transaction_id(self, slot: Slot | None, code: Term) -> str:
        prefix = self._sync.transaction_id_prefix
        if slot is not None:
            name = self._identifier("transaction_id", slot).source
        elif code.is_constant:
            start = default_transaction_id(prefix, str(code.constant), "")
            name = self._source.once(f"{start!r} + key")
        else:
            name = self._source.once(f"default_transaction_id({prefix!r}, {code.source}, key)")
        self._source.line(f"if len({name}) > {MAX_TRANSACTION_ID_BYTES // 4}: raise ValueError")
        return name

    def _instant(self, slot: Slot | None) -> tuple[str, str]:
        """The event's time in milliseconds, and as Lago's text."""
        if slot is None or isinstance(slot, Column):
            column = slot.name if slot else self._sync.source.time_column
            name, stamp = self._input(column, Form.INSTANT), self._input(column, Form.STAMP)
        else:
            zone = self._source.constant(self._sync.source.timezone)
            value = self._term("timestamp", slot).source
            name = self._source.once(f"plausible_timestamp_ms({value}, {zone})")
            stamp = self._source.once(f"seconds_text({name})")
        self._source.line(f"if not start <= {name} < end: raise ValueError")
        return name, stamp

    def _amount(self, slot: Slot | None) -> str | None:
        if slot is None:
            return None
        return self._source.once(f"amount_text({self._term('precise_total_amount_cents', slot).source})")

    def _properties(self, slots: Mapping[str, Slot]) -> str:
        """The properties that are there; nulls are left out."""
        texts = {name: self._property(name, slot) for name, slot in slots.items()}
        shown = {name: text for name, (text, _) in texts.items() if text != "None"}
        members = ", ".join(f"{name!r}: {text}" for name, text in shown.items())
        doubtful = [text for text, may_be_null in texts.values() if may_be_null]
        name = self._source.once(f"{{{members}}}")
        if not doubtful:
            return name
        with self._source.block(f"if {' or '.join(f'{text} is None' for text in dict.fromkeys(doubtful))}:"):
            self._source.line(f"{name} = {{name: text for name, text in {name}.items() if text is not None}}")
        return name

    def _property(self, name: str, slot: Slot) -> tuple[str, bool]:
        """A property's text, and whether it can be None."""
        if isinstance(slot, Column):
            return self._input(slot.name, Form.TEXT), True
        term = self._term(f"properties.{name}", slot)
        if term.is_constant:
            return self._source.constant(self._constant(property_text, term)), False
        if term.is_text:
            return term.source, False
        if term.is_number:
            return self._source.once(f"number_text({term.source})"), False
        text = f"{term.source} if type({term.source}) is str else property_text({term.source})"
        return self._source.once(text), True

    def _body(
        self, transaction_id: str, subscription: Term, code: Term, stamp: str, amount: str | None, sent: str
    ) -> None:
        """Lago's event as JSON."""
        self._source.line(f"encoded = dumps({sent})")
        start = (
            f'{{"transaction_id": {transaction_id}, "external_subscription_id": {subscription.source}, '
            f'"code": {code.source}, "timestamp": {stamp}, '
        )
        end = '"properties": Fragment(encoded)}'
        if amount is None:
            self._source.line(f"body = dumps({start}{end})")
        else:
            self._source.line(f"if {amount} is None: body = dumps({start}{end})")
            self._source.line(f'else: body = dumps({start}"precise_total_amount_cents": {amount}, {end})')
        # a backslash alone is found much sooner, and is rare
        self._source.line(r'if b"\\" in body and b"\\u0000" in body: raise ValueError')
        self._source.line("properties = encoded.decode()")
        self._source.line("fingerprint = blake2b(body, digest_size=16).digest()")

    def _function(self, fields: Mapping[str, str], constant: Collection[str]) -> str:
        """The whole function; a field that is a column or a constant needs no work a row."""
        whole = {name: f"[{fields[name]}] * len(keys)" for name in constant}
        whole |= {name: f"list({text}s)" for name, text in fields.items() if text in self._inputs.values()}
        gathered = [
            name for name in EventColumns._fields if name in _MADE or name in fields.keys() - whole.keys()
        ]
        for name in gathered:
            if name not in _MADE:
                self._source.line(f"{name} = {fields[name]}")
        columns = ", ".join(("keys", *(f"{name}s" for name in self._inputs.values())))
        lists = {"row_key": "list(keys)", "event_index": "[0] * len(keys)", "problem": "[None] * len(keys)"}
        lists |= whole | {name: f"all_{name}" for name in gathered}
        return _FUNCTION.format(
            columns=columns,
            names="".join(f"{name}, " for name in ("key", *self._inputs.values())),
            made="".join(f"    all_{name}, add_{name} = gathered()\n" for name in gathered),
            body=indent(str(self._source), " " * 12),
            nothing=" = ".join((*gathered, "None")),
            added="".join(f"        add_{name}({name})\n" for name in gathered),
            lists=", ".join(f"{name}={text}" for name, text in lists.items()),
        )


def _gathered() -> tuple[list[Any], Callable[[Any], None]]:
    """A list, and what adds to it."""
    values: list[Any] = []
    return values, values.append


_MADE = ("properties", "body", "fingerprint")
_NAMES = {
    "EventColumns": EventColumns,
    "gathered": _gathered,
    "dumps": orjson.dumps,
    "blake2b": blake2b,
    "value_text": value_text,
    "property_text": property_text,
    "number_text": number_text,
    "amount_text": amount_text,
    "plausible_timestamp_ms": plausible_timestamp_ms,
    "default_transaction_id": default_transaction_id,
    "seconds_text": seconds_text,
    "Fragment": orjson.Fragment,
}
_FUNCTION = """\
def render(start, end, {columns}):
{made}    left = []
    for {names}in zip({columns}):
        try:
{body}        except Exception:
            left.append(len(all_body))
            {nothing}
{added}    return EventColumns({lists}), left
"""
