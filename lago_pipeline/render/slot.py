"""One leaf of an event template: a literal, a typed placeholder or text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from io import StringIO
from typing import Protocol

from liquid import BoundTemplate
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.undefined import is_undefined

from lago_pipeline.refusals import ProblemError, Reason, shortened
from lago_pipeline.render.liquid import ExactContext, LiquidEnvironment, make_literals_exact, without_json
from lago_pipeline.render.pointing import Place

Row = Mapping[str, object]
Columns = Mapping[str, Place]
"""The columns that a slot reads, each with a place where it stands."""

_ROW_ERRORS = (LiquidError, ArithmeticError, LookupError, TypeError, ValueError)
"""What python-liquid's filters let through when a value is not what they expect."""


class Slot(Protocol):
    """Gives one value of an event for a row; raises ProblemError where the row has none."""

    def value(self, row: Row) -> object:
        """The typed value for this row; None means absent."""
        ...


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that is the same for every row."""

    constant: object

    def value(self, row: Row) -> object:
        """The constant."""
        del row
        return self.constant


@dataclass(frozen=True, slots=True)
class Column:
    """Exactly `{{ row.column }}`: the column's own value."""

    name: str
    columns: Columns

    def value(self, row: Row) -> object:
        """The column's value, typed as the source gave it."""
        return row[self.name]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder with filters or a path: typed as its last filter leaves it."""

    template: BoundTemplate
    expression: Expression
    columns: Columns

    def value(self, row: Row) -> object:
        """The expression's value."""
        try:
            result = self.expression.evaluate(ExactContext(self.template, globals={"row": row}))
            return str(result) if is_undefined(result) else result  # which raises, in its own words
        except _ROW_ERRORS as error:
            raise _refusal(self.template, error) from None


@dataclass(frozen=True, slots=True)
class Text:
    """Liquid with text, tags or several placeholders: always a string."""

    template: BoundTemplate
    columns: Columns

    def value(self, row: Row) -> object:
        """The rendered text."""
        buffer = StringIO()
        try:
            self.template.render_with_context(ExactContext(self.template, globals={"row": row}), buffer)
        except _ROW_ERRORS as error:
            raise _refusal(self.template, error) from None
        return buffer.getvalue()


def parse_slot(liquid: str, where: str, environment: LiquidEnvironment, *, typed: bool) -> Slot:
    """The slot for one Liquid string of the template's field `where`.

    `typed` lets a lone placeholder keep its type. Raises TemplateError for a syntax error or an unknown
    filter, tag or variable.
    """
    if "{{" not in liquid and "{%" not in liquid:
        return Literal(liquid)
    place = Place(where, liquid)
    template = _parsed(place, environment)
    columns = dict(_columns(template, place))
    nodes = [node for node in template.nodes if not _is_blank(node)]
    if typed and len(nodes) == 1 and isinstance(nodes[0], OutputNode):
        return _typed(template, nodes[0].expression, columns)
    return Text(template, columns)


def slot_columns(slot: Slot) -> Columns:
    """The columns that a slot reads."""
    return slot.columns if isinstance(slot, Column | Placeholder | Text) else {}


def _columns(template: BoundTemplate, place: Place) -> Iterator[tuple[str, Place]]:
    """Each column that a template reads; raises TemplateError for a variable that is not `row.<column>`."""
    for name, variables in template.analyze().globals.items():
        for variable in variables:
            segments, here = variable.segments, replace(place, index=variable.span.index)
            if name != "row":
                raise here.error(f"unknown variable {variable}: write row.{variable}")
            if len(segments) < 2 or not isinstance(segments[1], str):
                raise here.error(f"{variable} names no column: write row.<column>")
            yield segments[1], here


def _parsed(place: Place, environment: LiquidEnvironment) -> BoundTemplate:
    try:
        template = environment.from_string(place.liquid)
    except LiquidError as error:
        index = error.token.start_index if error.token else None
        raise replace(place, index=index).error(_words(error)) from None
    used = template.analyze().filters
    unknown = sorted(set(used) - set(environment.filters))
    if unknown:
        known = sorted(environment.filters)
        close = get_close_matches(unknown[0], known, n=1)
        hint = f": did you mean {close[0]}? " if close else ": "
        here = replace(place, index=used[unknown[0]][0].index)
        raise here.error(f"unknown filter {', '.join(unknown)}", f"{hint}Allowed are {', '.join(known)}")
    make_literals_exact(template)
    return template


def _typed(template: BoundTemplate, expression: Expression, columns: Columns) -> Slot:
    filters = (expression.filters or []) if isinstance(expression, FilteredExpression) else []
    left = expression.left if isinstance(expression, FilteredExpression) else expression
    if not filters and isinstance(left, Path) and len(left.path) == 2 and isinstance(left.path[1], str):
        return Column(left.path[1], columns)
    return Placeholder(template, without_json(expression), columns)


def _is_blank(node: Node) -> bool:
    return isinstance(node, ContentNode) and not node.text.strip()


def _refusal(template: BoundTemplate, error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    return ProblemError(Reason.TEMPLATE_ERROR, f"{_words(error)} in {shortened(str(template))}")


def _words(error: Exception) -> str:
    """The first line of what went wrong; never a whole value of the row."""
    words = str((error.message if isinstance(error, LiquidError) else "") or error).strip().splitlines()
    return words[0].replace("\x00", "�")[:200] if words else type(error).__name__
