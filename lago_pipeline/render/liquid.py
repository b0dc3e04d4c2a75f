"""The Liquid dialect of event templates: python-liquid with exact numbers, fixed zones and no clock.

python-liquid is the only parser. What is ours are the filters whose originals would bill wrongly: its
arithmetic takes a `Decimal` for 0, and its `date` filter reads the machine's clock and time zone.
"""

import math
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DecimalException
from typing import Any
from zoneinfo import ZoneInfo

from liquid import Environment, StrictUndefined
from liquid.builtin.output import Output, OutputNode
from liquid.context import RenderContext
from liquid.exceptions import FilterArgumentError
from liquid.extra import JSON
from liquid.filter import liquid_filter
from liquid.undefined import is_undefined

from lago_pipeline.partition import from_epoch_ms
from lago_pipeline.refusals import ProblemError
from lago_pipeline.values import number, timestamp_ms, value_text

Number = int | Decimal
_EXACT = Context(prec=60)


class _ExactOutputNode(OutputNode):
    """`{{ ... }}` inside text, written with the same spelling of numbers and instants as a typed value."""

    def render_to_output(self, context: RenderContext, buffer: Any) -> int:  # noqa: ANN401 - python-liquid's
        return int(buffer.write(_text(self.expression.evaluate(context))))


class _ExactOutput(Output):
    node_class = _ExactOutputNode


class LiquidEnvironment(Environment):
    """python-liquid with strict variables and filters, ternaries, `json`, and exact arithmetic.

    `zone` is the source's time zone: `date` reads and writes timestamps without a zone in it.
    """

    ternary_expressions = True
    logical_parentheses = True
    logical_not_operator = True

    def __init__(self, zone: ZoneInfo) -> None:
        super().__init__(undefined=StrictUndefined, strict_filters=True)
        self.add_tag(_ExactOutput)
        self.add_filter("json", JSON(default=value_text))
        self.add_filter("date", _date_filter(zone))
        for name, function in _MATH.items():
            self.add_filter(name, _math_filter(name, function))


def _text(value: object) -> str:
    if isinstance(value, list):
        return "".join(_text(item) for item in value)
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    if is_undefined(value):
        return str(value)  # StrictUndefined raises here, in its own words
    return value_text(value)


def _math_filter(name: str, function: Callable[..., Number]) -> Callable[..., Number]:
    @liquid_filter
    def exact(value: object, *arguments: object) -> Number:
        try:
            return function(_operand(value), *(_operand(argument) for argument in arguments))
        except ProblemError as problem:
            raise FilterArgumentError(
                f"{name}: {problem.problem.detail} is not a number", token=None
            ) from None
        except (DecimalException, ZeroDivisionError):
            raise FilterArgumentError(f"{name}: no exact result", token=None) from None

    return exact


def _operand(value: object) -> Number:
    if is_undefined(value):
        str(value)  # StrictUndefined raises here, in its own words
    return number(value)


def _plus(left: Number, right: Number) -> Number:
    return left + right if _whole(left, right) else _EXACT.add(Decimal(left), Decimal(right))


def _minus(left: Number, right: Number) -> Number:
    return left - right if _whole(left, right) else _EXACT.subtract(Decimal(left), Decimal(right))


def _times(left: Number, right: Number) -> Number:
    return left * right if _whole(left, right) else _EXACT.multiply(Decimal(left), Decimal(right))


def _divided_by(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    return _EXACT.divide(Decimal(left), Decimal(right))


def _modulo(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    quotient = _EXACT.divide(Decimal(left), Decimal(right)).to_integral_value(rounding=ROUND_FLOOR)
    return _EXACT.subtract(Decimal(left), _EXACT.multiply(quotient, Decimal(right)))


def _round(value: Number, digits: Number = 0) -> Number:
    places = max(0, int(digits))
    rounded = Decimal(value).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP, context=_EXACT)
    return rounded if places else int(rounded)


def _whole(left: Number, right: Number) -> bool:
    return isinstance(left, int) and isinstance(right, int)


_MATH: dict[str, Callable[..., Number]] = {
    "plus": _plus,
    "minus": _minus,
    "times": _times,
    "divided_by": _divided_by,
    "modulo": _modulo,
    "round": _round,
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "at_most": min,
    "at_least": max,
}


def _date_filter(zone: ZoneInfo) -> Callable[..., str]:
    @liquid_filter
    def date(value: object, pattern: object) -> str:
        if is_undefined(value) or is_undefined(pattern):
            return str(value) + str(pattern)  # StrictUndefined raises here, in its own words
        if value in ("now", "today"):
            raise FilterArgumentError("date: the clock is not part of the row; use a column", token=None)
        try:
            instant = timestamp_ms(value, zone)
        except ProblemError as problem:
            raise FilterArgumentError(f"date: {problem.problem.detail} is not a time", token=None) from None
        return _local(value, instant, zone).strftime(str(pattern).replace("%s", str(instant // 1000)))

    return date


def _local(value: object, instant_ms: int, zone: ZoneInfo) -> datetime:
    own_zone = value.tzinfo if isinstance(value, datetime) and value.tzinfo else zone
    return from_epoch_ms(instant_ms).astimezone(own_zone)
