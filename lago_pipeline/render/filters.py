"""The Liquid filters whose originals would bill wrongly: exact numbers, a fixed zone, one spelling.

python-liquid's arithmetic takes a `Decimal` for 0, its `sum` goes through floats, its `date` reads the
machine's clock and zone, and its text filters spell numbers and times as Python does (`1E-7`, `True`).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DecimalException, Inexact
from functools import lru_cache, reduce, wraps
from inspect import unwrap
from typing import Any
from zoneinfo import ZoneInfo

from liquid.exceptions import FilterArgumentError
from liquid.filter import liquid_filter, sequence_filter
from liquid.undefined import is_undefined

from lago_pipeline.partition import from_epoch_ms
from lago_pipeline.refusals import ProblemError
from lago_pipeline.values import json_text, number, timestamp_ms, value_text

Filter = Callable[..., Any]
Number = int | Decimal

_ROUNDED = Context(prec=60)
_EXACT = Context(prec=60)
_EXACT.traps[Inexact] = True
_SPELLED = ("liquid.builtin.filters.string", "liquid.builtin.filters.extra")
"""Modules whose filters take text."""


@dataclass(frozen=True, slots=True)
class ExactFilter:
    """A filter as python-liquid calls it, and the plain function behind it, for compiled templates."""

    checked: Filter
    plain: Filter
    with_environment: bool = False

    def __call__(self, *arguments: object, **options: object) -> object:
        """Filter a value; an error is Liquid's own."""
        return self.checked(*arguments, **options)


class TextFilter(ExactFilter):
    """Where value and arguments are text or whole numbers, `plain` gives the same or fails as well."""


class NumberFilter(ExactFilter):
    """With `number` around value and arguments, `plain` gives the same or fails as well."""


def exact_filters(originals: Mapping[str, Filter], zone: ZoneInfo) -> dict[str, Filter]:
    """What replaces or adds to python-liquid's filters; `zone` is the source's time zone."""
    texts = [name for name, original in originals.items() if original.__module__ in _SPELLED]
    return {
        **{name: _text_filter(originals[name]) for name in texts},
        **{name: NumberFilter(_math_filter(name, function), function) for name, function in _MATH.items()},
        "join": _spelling(originals["join"]),
        "sum": _sum,
        "json": _json,
        "date": _date_filter(zone),
    }


def _text_filter(original: Filter) -> TextFilter:
    needs_environment = getattr(original, "with_environment", False)
    return TextFilter(_spelling(original), unwrap(original), needs_environment)


def _spelling(original: Filter) -> Filter:
    """A filter of text that sees numbers and instants as a typed value would spell them."""

    @wraps(original)
    def spelled(value: object, *arguments: object, **options: object) -> object:
        return original(_spelled(value), *(_spelled(argument) for argument in arguments), **options)

    return spelled


def _spelled(value: object) -> object:
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # such as the length that `truncate` takes
    return value if isinstance(value, str | range) or is_undefined(value) else value_text(value)


@liquid_filter
def _json(value: object, indent: object = None) -> str:
    del indent
    return json_text(_defined(value))


@contextmanager
def _exactly(name: str) -> Iterator[None]:
    """Errors of arithmetic in Liquid's own kind."""
    try:
        yield
    except ProblemError as problem:
        words = f"{name}: {problem.problem.detail} is not a number"
        raise FilterArgumentError(words, token=None) from None
    except (DecimalException, ZeroDivisionError):
        raise FilterArgumentError(f"{name}: no exact result", token=None) from None


def _math_filter(name: str, function: Callable[..., Number]) -> Filter:
    @liquid_filter
    def exact(value: object, *arguments: object) -> Number:
        with _exactly(name):
            return function(_operand(value), *(_operand(argument) for argument in arguments))

    return exact


def _operand(value: object) -> Number:
    return number(_defined(value))


def _defined(value: object) -> object:
    if is_undefined(value):
        str(value)  # the strict undefined raises here, in its own words
    return value


def _plus(left: Number, right: Number) -> Number:
    return left + right if _whole(left, right) else _EXACT.add(Decimal(left), Decimal(right))


def _minus(left: Number, right: Number) -> Number:
    return left - right if _whole(left, right) else _EXACT.subtract(Decimal(left), Decimal(right))


def _times(left: Number, right: Number) -> Number:
    return left * right if _whole(left, right) else _EXACT.multiply(Decimal(left), Decimal(right))


def _divided_by(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        return left // right
    return _ROUNDED.divide(Decimal(left), Decimal(right))


def _modulo(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        return left % right
    quotient = _ROUNDED.divide(Decimal(left), Decimal(right)).to_integral_value(rounding=ROUND_FLOOR)
    return _EXACT.subtract(Decimal(left), _EXACT.multiply(quotient, Decimal(right)))


def _round(value: Number, digits: Number = 0) -> Number:
    places = int(digits)
    rounded = Decimal(value).quantize(_step(places), ROUND_HALF_UP, _ROUNDED)
    return rounded if places > 0 else int(rounded)


@lru_cache(maxsize=100)
def _step(places: int) -> Decimal:
    """The smallest number of so many decimal places."""
    return Decimal(1).scaleb(-places, context=_ROUNDED)


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


@sequence_filter
def _sum(items: Sequence[Any], key: object = None) -> Number:
    with _exactly("sum"):
        values = items if key is None else [item[key] for item in items]
        nothing: Number = 0
        return reduce(_plus, map(_operand, values), nothing)


def _date_filter(zone: ZoneInfo) -> Filter:
    """`date` reads timestamps without a zone in `zone`, and writes all of them in it."""

    @liquid_filter
    def date(value: object, pattern: object) -> str:
        if _defined(value) in ("now", "today"):
            raise FilterArgumentError("date: the clock is not part of the row; use a column", token=None)
        if not isinstance(_defined(pattern), str):
            raise FilterArgumentError(f"date: {pattern!r} is not a format", token=None)
        try:
            instant = timestamp_ms(value, zone)
            local = from_epoch_ms(instant).astimezone(zone)
        except ProblemError as problem:
            raise FilterArgumentError(f"date: {problem.problem.detail} is not a time", token=None) from None
        return _formatted(local, str(pattern), instant // 1000)

    return date


def _formatted(local: datetime, pattern: str, seconds: int) -> str:
    if pattern == "%s":
        return str(seconds)
    own = re.sub("%[%s]", lambda found: str(seconds) if found[0] == "%s" else found[0], pattern)
    return local.strftime(own)
