"""Numbers as Ruby reads and prints them: BigDecimal's strict and loose parsers, Float#to_s."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

EXACT = Context(prec=400, rounding=ROUND_HALF_UP)

_DIGITS = r"\d+(?:_\d+)*"
_STRICT = re.compile(rf"[+-]?(?:{_DIGITS}(?:\.{_DIGITS})?|\.{_DIGITS})(?:[eEdD][+-]?\d+)?", re.ASCII)
_LOOSE = re.compile(rf"\s*([+-]?(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
_SPACE = " \t\n\v\f\r"


def strict(text: str) -> Decimal | None:
    """Read `BigDecimal(text)`; None where Ruby raises ArgumentError.

    Surrounding space, underscores between digits and exponents are fine. "NaN" and "Infinity" are numbers.
    """
    stripped = text.strip(_SPACE)
    if stripped in {"NaN", "Infinity", "+Infinity", "-Infinity"}:
        return Decimal(stripped)
    return _decimal(stripped) if _STRICT.fullmatch(stripped) else None


def loose(text: str) -> Decimal:
    """Read `text.to_d`: the number a text begins with, 0 when there is none."""
    found = _LOOSE.match(text)
    return _decimal(found[1]) if found else Decimal(0)


def plain(number: Decimal) -> str:
    """Print as `BigDecimal#to_s("F")`: never an exponent, always a fraction ("3.0")."""
    whole, _, fraction = f"{number:f}".partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def float_text(number: float) -> str:
    """Print as `Float#to_s`: "1.5", but "1.0e+20" where Python says "1e+20"."""
    mantissa, exponent, power = repr(number).partition("e")
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else mantissa + exponent + power


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text.replace("_", "").replace("d", "e").replace("D", "e"))
    except InvalidOperation:  # an exponent beyond all bounds, which Ruby turns into Infinity
        return Decimal("Infinity")
