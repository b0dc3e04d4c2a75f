"""An event template, ready for many rows at once.

What its Liquid works out of a row is one Python function; all else is put together by column (`assembly`).
A row about which anything is not as it should be is left: it is rendered again by python-liquid
(`EventRenderer`), which finds its problem, or its event after all. So a compiled template may be strict, and
need not know how any error is told.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any

import numpy as np
import pyarrow as pa

from lago_pipeline.partition import Partition
from lago_pipeline.render.alike import kinds_of
from lago_pipeline.render.assembly import (
    Constant,
    EventParts,
    OfColumn,
    Part,
    Result,
    Results,
    assembled,
)
from lago_pipeline.render.expressions import Expressions, Term
from lago_pipeline.render.function_source import FunctionSource, Uncovered
from lago_pipeline.render.inputs import Form, Inputs
from lago_pipeline.render.nodes import Nodes
from lago_pipeline.render.rules import amount_text
from lago_pipeline.render.slot import Column, Literal, Placeholder, Slot, Text
from lago_pipeline.sync import Sync
from lago_pipeline.values import is_storable, number_text, plausible_timestamp_ms, property_text, value_text


@dataclass(frozen=True, slots=True)
class CompiledTemplate:
    """The parts of an event, and the function for those that are worked out, with the columns it takes.

    `uncovered` names the fields whose Liquid python-liquid renders by itself within the function.
    """

    parts: EventParts
    work_out: Callable[..., tuple[Results, list[int]]]
    inputs: Sequence[tuple[str, Form]]
    uncovered: Sequence[str]
    source: str = field(repr=False)

    @property
    def way(self) -> str:
        """How rows are rendered, for a log or a table: wholly compiled, or some fields by python-liquid."""
        return (
            f"compiled, but python-liquid for {', '.join(self.uncovered)}" if self.uncovered else "compiled"
        )

    def render(self, inputs: Inputs, partition: Partition) -> tuple[pa.RecordBatch, list[int]]:
        """The events of rows, and the indexes of the rows that were left: their events mean nothing."""
        events = assembled(self.parts, inputs, self._results(inputs), partition)
        return events, np.flatnonzero(inputs.left).tolist()

    def _results(self, inputs: Inputs) -> Results:
        """What the function works out of each row; rows of which it can make nothing are left."""
        kinds = kinds_of(inputs, (name for name, _ in self.inputs))
        if kinds is None:
            results, left = self._worked_out(inputs)
            inputs.left[left] = True
            return results
        results, left = self._worked_out(inputs.at(kinds.firsts))
        inputs.left |= kinds.rows_of(left)
        return kinds.spread(results)

    def _worked_out(self, inputs: Inputs) -> tuple[Results, list[int]]:
        columns = [inputs.values(name, form) for name, form in self.inputs]
        return self.work_out(range(len(inputs.rows)), *columns)


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
        self._results: dict[str, None] = {}
        self._uncovered: list[str] = []

    def compiled(self, fields: Mapping[str, Slot], properties: Mapping[str, Slot]) -> CompiledTemplate:
        """Write the function's body, then its head, which names the columns that turned out to be needed."""
        given = fields.get("transaction_id")
        parts = EventParts(
            prefix=self._sync.transaction_id_prefix,
            transaction_id=self._identifier("transaction_id", given) if given else None,
            code=self._identifier("code", fields["code"]),
            external_subscription_id=self._identifier(
                "external_subscription_id", fields["external_subscription_id"]
            ),
            timestamp=self._timestamp(fields.get("timestamp")),
            amount=self._amount(fields.get("precise_total_amount_cents")),
            properties={name: self._property(name, slot) for name, slot in properties.items()},
        )
        text = self._function()
        namespace = {**_NAMES, **self._source.constants}
        exec(compile(text, f"<template of {self._sync.name}>", "exec"), namespace)  # noqa: S102 - our own text
        work_out: Any = namespace["work_out"]
        return CompiledTemplate(parts, work_out, tuple(self._inputs), tuple(self._uncovered), text)

    def _input(self, column: str, form: Form) -> str:
        return self._inputs.setdefault((column, form), f"c{len(self._inputs)}")

    def _result(self, text: str) -> Result:
        """What an expression gives, handed on."""
        name = self._source.once(text)
        self._results[name] = None
        return Result(name)

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

    def _identifier(self, where: str, slot: Slot) -> Part:
        """A text that is not blank."""
        if isinstance(slot, Column):
            return OfColumn(slot.name)
        term = self._term(where, slot)
        if term.is_constant:
            text = self._constant(value_text, term)
            if not (text or "").strip():
                self._source.line("raise ValueError")
            return Constant(text)
        return self._result(f"{term.source} if type({term.source}) is str else value_text({term.source})")

    def _constant(self, spelled: Callable[[object], str | None], term: Term) -> str | None:
        """A constant as text; where it has none, every row is left, for python-liquid's words."""
        try:
            text = spelled(term.constant)
        except ValueError:
            pass
        else:
            if text is None or is_storable(text):
                return text
        self._source.line("raise ValueError")
        return None

    def _timestamp(self, slot: Slot | None) -> OfColumn | Result:
        """The event's time in milliseconds."""
        if slot is None or isinstance(slot, Column):
            return OfColumn(slot.name if slot else self._sync.source.time_column)
        zone = self._source.constant(self._sync.source.timezone)
        return self._result(f"plausible_timestamp_ms({self._term('timestamp', slot).source}, {zone})")

    def _amount(self, slot: Slot | None) -> Part | None:
        if slot is None:
            return None
        return self._result(f"amount_text({self._term('precise_total_amount_cents', slot).source})")

    def _property(self, name: str, slot: Slot) -> Part:
        if isinstance(slot, Column):
            return OfColumn(slot.name)
        term = self._term(f"properties.{name}", slot)
        if term.is_constant:
            return Constant(self._constant(property_text, term))
        if term.is_text:
            return self._result(term.source)
        if term.is_number:
            return self._result(f"number_text({term.source})")
        return self._result(f"{term.source} if type({term.source}) is str else property_text({term.source})")

    def _function(self) -> str:
        """The whole function, which gives what is in `_results`."""
        body = str(self._source)
        if not body.strip():
            return _NOTHING
        return _FUNCTION.format(
            columns="".join(f"{name}s, " for name in self._inputs.values()),
            names="".join(f"{name}, " for name in self._inputs.values()),
            made="".join(f"    all_{name}, add_{name} = gathered()\n" for name in self._results),
            body=indent(body, " " * 12),
            nothing="".join(f"{name} = " for name in self._results),
            added="".join(f"        add_{name}({name})\n" for name in self._results),
            results="".join(f"{name!r}: all_{name}, " for name in self._results),
        )


def _gathered() -> tuple[list[Any], Callable[[Any], None]]:
    """A list, and what adds to it."""
    values: list[Any] = []
    return values, values.append


_NAMES = {
    "gathered": _gathered,
    "value_text": value_text,
    "property_text": property_text,
    "number_text": number_text,
    "amount_text": amount_text,
    "plausible_timestamp_ms": plausible_timestamp_ms,
}
_NOTHING = """\
def work_out(rows, *columns):
    return {}, []
"""
_FUNCTION = """\
def work_out(rows, {columns}):
{made}    left = []
    for row, {names}in zip(rows, {columns}):
        try:
{body}        except Exception:
            left.append(row)
            {nothing}None
{added}    return {{{results}}}, left
"""
