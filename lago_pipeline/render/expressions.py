"""Liquid's expressions as Python's: python-liquid's parse tree and its own filters and comparisons.

What is written here for speed is what python-liquid does with texts and numbers, the rest is called there.
An error need not be its error, only an error: such a row is rendered again, by python-liquid.
"""

import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from liquid import BoundTemplate
from liquid.builtin.expressions import (
    BooleanExpression,
    Filter,
    FilteredExpression,
    KeywordArgument,
    Nil,
    Path,
    StringLiteral,
    TernaryFilteredExpression,
    logical,
    primitive,
)
from liquid.expression import Expression
from liquid.token import Token

from lago_pipeline.render.filters import NumberFilter, TextFilter
from lago_pipeline.render.function_source import FunctionSource, Uncovered
from lago_pipeline.render.liquid import ExactContext
from lago_pipeline.values import number

MISSING = object()
"""What a variable holds that is assigned in another branch only."""

_NUMBERS = frozenset({int, Decimal})
_FOLDED = (str, int, bool, Decimal, type(None))
_UNKNOWN = object()
_NOWHERE = Token("", "", -1, "")


@dataclass(frozen=True, slots=True)
class Term:
    """A value in the function: the name or constant for it, and what is known of it beforehand.

    `is_row` says that it comes from the row as it is: never undefined, and no object of python-liquid's.
    """

    source: str
    constant: object = _UNKNOWN
    is_text: bool = False
    is_number: bool = False
    is_row: bool = False
    may_be_missing: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether the value is the same for every row."""
        return self.constant is not _UNKNOWN


class Expressions:
    """Writes the expressions of one template; `variables` are what its tags have assigned so far.

    `column` gives the name of a column's value, with floats as the decimals that they print as.
    """

    def __init__(self, source: FunctionSource, template: BoundTemplate, column: Callable[[str], str]) -> None:
        self.source = source
        self.variables: dict[str, Term] = {}
        self._environment = template.env
        self._column = column
        self._step = _steps(template)

    def term(self, expression: Expression) -> Term:
        """The value of an expression; raises Uncovered for one of a kind that is left to python-liquid."""
        if type(expression) in _CONSTANTS:
            return self.constant(expression.value)  # type: ignore[attr-defined]
        if type(expression) in (primitive.Empty, primitive.Blank):
            return self.constant(expression)
        if type(expression) is Nil:
            return self.constant(None)
        if type(expression) is Path:
            return self._path(expression)
        if type(expression) is FilteredExpression:
            return self._filtered(self.term(expression.left), expression.filters)
        if type(expression) is TernaryFilteredExpression:
            return self._ternary(expression)
        raise Uncovered

    def constant(self, value: object) -> Term:
        """The same value for every row."""
        return Term(self.source.constant(value), value, is_text=type(value) is str)

    def truth(self, expression: Expression) -> str:
        """Whether a condition holds, as a Python expression."""
        if type(expression) is BooleanExpression:
            return self.truth(expression.expression)
        if type(expression) is logical.LogicalNotExpression:
            return self.source.once(f"not {self.truth(expression.right)}")
        if type(expression) is logical.LogicalAndExpression:
            return self._either(expression, "")
        if type(expression) is logical.LogicalOrExpression:
            return self._either(expression, "not ")
        if type(expression) in _COMPARISONS:
            return self._comparison(expression)
        return self._truthy(self.term(expression))

    def _either(
        self, expression: logical.LogicalAndExpression | logical.LogicalOrExpression, prefix: str
    ) -> str:
        """The left side, and the right one only where it decides."""
        name = self.source.name()
        self.source.line(f"{name} = {self.truth(expression.left)}")
        with self.source.block(f"if {prefix}{name}:"):
            self.source.line(f"{name} = {self.truth(expression.right)}")
        return name

    def _truthy(self, term: Term) -> str:
        if term.is_constant:
            return str(logical.is_truthy(term.constant))
        if term.is_row or term.is_text:
            return self.source.once(f"{term.source} is not None and {term.source} is not False")
        return self.source.once(f"{self.source.constant(logical.is_truthy)}({term.source})")

    def _comparison(self, expression: Any) -> str:  # noqa: ANN401 - any of _COMPARISONS
        left, right = self.term(expression.left), self.term(expression.right)
        compared = f"{self.source.constant(_compare)}({self.source.constant(type(expression))}, "
        general = f"{compared}{left.source}, {right.source})"
        operator = _COMPARISONS[type(expression)]
        quick = [
            self._quick(side, other)
            for side, other in ((left, right), (right, left))
            if operator and other.is_constant and not side.is_constant
        ]
        if not quick or not quick[0]:
            return self.source.once(general)
        return self.source.once(f"{left.source} {operator} {right.source} if {quick[0]} else {general}")

    def _quick(self, side: Term, constant: Term) -> str:
        """The test that lets Python's operator compare a value with a constant."""
        if type(constant.constant) is str:
            return f"type({side.source}) is str"
        if type(constant.constant) in _NUMBERS:
            return f"type({side.source}) in {self.source.constant(_NUMBERS)}"
        return ""

    def _ternary(self, expression: TernaryFilteredExpression) -> Term:
        name = self.source.name()
        with self.source.block(f"if {self.truth(expression.condition)}:"):
            self.source.line(f"{name} = {self.term(expression.left).source}")
        with self.source.block("else:"):
            other = self.constant(None)
            if expression.alternative is not None:
                other = self._filtered(self.term(expression.alternative), expression.filters)
            self.source.line(f"{name} = {other.source}")
        return self._filtered(Term(name), expression.tail_filters)

    def _path(self, path: Path) -> Term:
        head, *steps = path.path
        if not isinstance(head, str):
            raise Uncovered
        if head in self.variables:
            root = self.variables[head]
            if root.may_be_missing:
                root = Term(self.source.once(f"{self.source.constant(_present)}({root.source})"))
        elif head == "row" and steps and isinstance(steps[0], str):
            root = Term(self._column(steps.pop(0)), is_row=True)  # type: ignore[arg-type]
        else:
            raise Uncovered
        return self._stepped(root, steps) if steps else root

    def _stepped(self, root: Term, steps: Sequence[object]) -> Term:
        parts = [self.term(step) if isinstance(step, Path) else self.constant(step) for step in steps]
        called = ", ".join(part.source for part in (root, *parts))
        return Term(self.source.once(f"{self.source.constant(self._step)}({called})"))

    def _filtered(self, term: Term, filters: Sequence[Filter] | None) -> Term:
        for each in filters or ():
            term = self._filter(term, each)
        return term

    def _filter(self, left: Term, used: Filter) -> Term:
        arguments = [self.term(each.value) for each in used.args if not isinstance(each, KeywordArgument)]
        options = {
            each.name: self.term(each.value) for each in used.args if isinstance(each, KeywordArgument)
        }
        if not all(name.isidentifier() and not keyword.iskeyword(name) for name in options):
            raise Uncovered
        function = self._environment.filters[used.name]
        if getattr(function, "with_context", False):
            raise Uncovered
        if getattr(function, "with_environment", False):
            options["environment"] = self.constant(self._environment)
        folded = _folded(function, left, arguments, options)
        if folded is not _UNKNOWN:
            return self.constant(folded)
        return self._call(function, left, arguments, options)

    def _call(
        self, function: object, left: Term, arguments: Sequence[Term], options: dict[str, Term]
    ) -> Term:
        given = [each.source for each in arguments] + [
            f"{name}={each.source}" for name, each in options.items()
        ]
        if isinstance(function, NumberFilter) and not options:
            operands = ", ".join(self._number(each) for each in (left, *arguments))
            return Term(
                self.source.once(f"{self.source.constant(function.plain)}({operands})"), is_number=True
            )
        general = f"{self.source.constant(function)}({', '.join([left.source, *given])})"
        if isinstance(function, TextFilter) and all(type(each.constant) in (str, int) for each in arguments):
            return self._text_call(function, left, given, general)
        if function is self._environment.filters["default"] and _is_usual(arguments, options):
            kept = f"{left.source} if type({left.source}) is str and {left.source} else {general}"
            return Term(self.source.once(kept if not left.is_constant else general))
        return Term(self.source.once(general))

    def _text_call(self, function: TextFilter, left: Term, given: Sequence[str], general: str) -> Term:
        plain = f"{self.source.constant(function.plain)}({', '.join([left.source, *given])})"
        gives_text = getattr(function.plain, "__annotations__", {}).get("return") == "str"
        if left.is_text:
            return Term(self.source.once(plain), is_text=gives_text)
        return Term(
            self.source.once(f"{plain} if type({left.source}) is str else {general}"), is_text=gives_text
        )

    def _number(self, operand: Term) -> str:
        if operand.is_constant:
            try:
                return self.source.constant(number(operand.constant))
            except ValueError:
                pass  # every row has this error: python-liquid tells it
        return self.source.once(f"{self.source.constant(number)}({operand.source})")


_CONSTANTS = (
    StringLiteral,
    primitive.IntegerLiteral,
    primitive.FloatLiteral,
    primitive.TrueLiteral,
    primitive.FalseLiteral,
)
_COMPARISONS = {
    logical.EqExpression: "==",
    logical.NeExpression: "!=",
    logical.LtExpression: "<",
    logical.LeExpression: "<=",
    logical.GtExpression: ">",
    logical.GeExpression: ">=",
    logical.ContainsExpression: "",
}
"""With Python's operator for two texts and for two numbers."""


class _Value(Expression):
    """A value that is known already, as a part of an expression."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        super().__init__(_NOWHERE)
        self.value = value

    def evaluate(self, context: object) -> object:
        del context
        return self.value

    def children(self) -> list[Expression]:
        return []


def _compare(kind: Any, left: object, right: object) -> bool:  # noqa: ANN401 - any of _COMPARISONS
    """A comparison as python-liquid makes it."""
    return bool(kind(_NOWHERE, _Value(left), _Value(right)).evaluate(None))


def _folded(
    function: Callable[..., object], left: Term, arguments: Sequence[Term], options: dict[str, Term]
) -> object:
    """The result of a filter over constants, where there is one."""
    if not all(each.is_constant for each in (left, *arguments, *options.values())):
        return _UNKNOWN
    try:
        named = {name: each.constant for name, each in options.items()}
        result = function(left.constant, *(each.constant for each in arguments), **named)
    except Exception:
        return _UNKNOWN
    return result if type(result) in _FOLDED else _UNKNOWN


def _is_usual(arguments: Sequence[Term], options: Mapping[str, Term]) -> bool:
    """Whether `default` is used as it can be."""
    return len(arguments) == 1 and options.keys() <= {"allow_false"}


def _present(value: object) -> object:
    if value is MISSING:
        raise LookupError
    return value


def _steps(template: BoundTemplate) -> Callable[..., object]:
    """What walks from a value into its parts, as a path does."""
    get_item = ExactContext(template).get_item
    undefined = template.env.undefined("row", token=None)

    def step(value: object, *keys: object) -> object:
        try:
            for key in keys:
                value = get_item(value, key)
        except (KeyError, TypeError, IndexError):
            return undefined
        return value

    return step
