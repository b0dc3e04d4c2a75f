"""Metric expressions: a parser and evaluator for the grammar of Lago's `lago-expression`.

expression  numbers, 'strings', event.code, event.timestamp, event.properties.<name>,
            + - * /, unary minus, parentheses,
            ceil, floor, round (x[, digits]), concat, least, greatest (x, ...)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, DivisionByZero

import orjson

from lago_pipeline.sandbox.answers import crashed

Value = Decimal | str

_CONTEXT = Context(prec=100, traps=[DivisionByZero])
_TOKEN = re.compile(
    r" *(?:(?P<number>\d+(?:\.\d+)?)|'(?P<string>[^']*)'"
    r"|event\.(?P<variable>timestamp|code|properties\.(?P<property>[A-Za-z][A-Za-z0-9_]*))"
    r"|(?P<name>[A-Za-z]+)(?= *\()|(?P<sign>[-+*/(),]))",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_ROUNDINGS = {"ceil": ROUND_CEILING, "floor": ROUND_FLOOR, "round": ROUND_HALF_UP}
_ARITHMETIC: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": _CONTEXT.add,
    "-": _CONTEXT.subtract,
    "*": _CONTEXT.multiply,
    "/": _CONTEXT.divide,
}


class InvalidExpressionError(ValueError):
    """The text is not an expression of Lago's grammar."""


class EvaluationError(Exception):
    """An event lacks a variable, or a number was expected; the message is Lago's."""


@dataclass(frozen=True)
class Subject:
    """The event that an expression looks at; `timestamp` is in whole seconds."""

    code: str
    timestamp: int
    properties: Mapping[str, object]


Expression = Callable[[Subject], Value]


def parse(text: str) -> Expression:
    """Compile an expression; raises InvalidExpressionError."""
    return _Parser(text).whole()


class _Parser:
    """Recursive descent over the tokens, building closures."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)

    def whole(self) -> Expression:
        found = self._sum()
        if self._tokens:
            raise InvalidExpressionError(self._tokens[0][1])
        return found

    def _sum(self) -> Expression:
        left = self._product()
        while self._next_is("+", "-"):
            left = _arithmetic(self._take()[1], left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._atom()
        while self._next_is("*", "/"):
            left = _arithmetic(self._take()[1], left, self._atom())
        return left

    def _atom(self) -> Expression:
        if self._next_is("-"):
            self._take()
            positive = self._primary()
            return lambda subject: -_number(positive(subject))
        return self._primary()

    def _primary(self) -> Expression:
        kind, text = self._take()
        if kind == "number":
            number = Decimal(text)
            return lambda _: number
        if kind == "string":
            return lambda _: text
        if kind in {"variable", "property"}:
            return _variable(kind, text)
        if kind == "name":
            return _function(text, self._arguments())
        if text != "(":
            raise InvalidExpressionError(text)
        inner = self._sum()
        self._expect(")")
        return inner

    def _arguments(self) -> list[Expression]:
        self._expect("(")
        found = [self._sum()]
        while self._next_is(","):
            self._take()
            found.append(self._sum())
        self._expect(")")
        return found

    def _next_is(self, *signs: str) -> bool:
        return bool(self._tokens) and self._tokens[0] in [("sign", sign) for sign in signs]

    def _take(self) -> tuple[str, str]:
        if not self._tokens:
            raise InvalidExpressionError("unexpected end")
        return self._tokens.pop(0)

    def _expect(self, sign: str) -> None:
        if self._take() != ("sign", sign):
            raise InvalidExpressionError(f"expected {sign}")


def _tokens(text: str) -> list[tuple[str, str]]:
    text = text.strip(" ")
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise InvalidExpressionError(text[position:])
        kind = "property" if match["property"] else match.lastgroup
        found.append((kind, match[kind]))
        position = match.end()
    return found


def _variable(kind: str, name: str) -> Expression:
    if kind == "property":
        return lambda subject: _property(subject, name)
    if name == "code":
        return lambda subject: subject.code
    return lambda subject: Decimal(subject.timestamp)


def _property(subject: Subject, name: str) -> Value:
    if name not in subject.properties:
        raise EvaluationError(f"Variable: {name} not found")
    value = subject.properties[name]
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return Decimal(text) if _NUMBER.fullmatch(text) else text


def _arithmetic(sign: str, left: Expression, right: Expression) -> Expression:
    operate = _ARITHMETIC[sign]

    def evaluate(subject: Subject) -> Value:
        try:
            return operate(_number(left(subject)), _number(right(subject)))
        except ArithmeticError:
            raise crashed() from None  # Lago's library panics on a division by zero

    return evaluate


def _function(spelled: str, arguments: list[Expression]) -> Expression:
    name = spelled.lower()
    if spelled not in {name, name.upper(), name.capitalize()}:
        raise InvalidExpressionError(spelled)
    if name in _ROUNDINGS and len(arguments) <= 2:
        return _rounding(_ROUNDINGS[name], *arguments)
    if name == "concat":
        return lambda subject: "".join(_text(argument(subject)) for argument in arguments)
    if name in {"least", "greatest"}:
        choose = min if name == "least" else max
        return lambda subject: choose(_number(argument(subject)) for argument in arguments)
    raise InvalidExpressionError(spelled)


def _rounding(mode: str, argument: Expression, digits: Expression | None = None) -> Expression:
    def evaluate(subject: Subject) -> Value:
        scale = int(_number(digits(subject))) if digits else 0
        number = _number(argument(subject))
        return number.quantize(Decimal(1).scaleb(-scale), rounding=mode, context=_CONTEXT)

    return evaluate


def _number(value: Value) -> Decimal:
    if isinstance(value, str):
        raise EvaluationError("Expected a decimal")
    return value


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:f}"
