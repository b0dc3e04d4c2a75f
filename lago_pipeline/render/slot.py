"""One leaf of an event template: a literal, a typed placeholder or text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from io import StringIO
from json import JSONDecodeError, loads
from typing import Protocol

from liquid import BoundTemplate
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.context import RenderContext
from liquid.exceptions import LiquidError
from liquid.expression import Expression

from lago_pipeline.errors import TemplateError
from lago_pipeline.refusals import ProblemError, Reason
from lago_pipeline.render.liquid import LiquidEnvironment

Row = Mapping[str, object]


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

    def value(self, row: Row) -> object:
        """The column's value, typed as the source gave it."""
        return row[self.name]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder with filters or a path: typed as its last filter leaves it."""

    template: BoundTemplate
    expression: Expression
    is_json: bool

    def value(self, row: Row) -> object:
        """The expression's value; a trailing `json` filter is undone, since values are encoded later."""
        try:
            result = self.expression.evaluate(RenderContext(self.template, globals={"row": row}))
            return loads(str(result), parse_float=Decimal) if self.is_json else result
        except (LiquidError, JSONDecodeError) as error:
            raise _refusal(self.template, error) from None


@dataclass(frozen=True, slots=True)
class Text:
    """Liquid with text, tags or several placeholders: always a string."""

    template: BoundTemplate

    def value(self, row: Row) -> object:
        """The rendered text."""
        buffer = StringIO()
        try:
            self.template.render_with_context(RenderContext(self.template, globals={"row": row}), buffer)
        except LiquidError as error:
            raise _refusal(self.template, error) from None
        return buffer.getvalue()


def parse_slot(liquid: str, where: str, environment: LiquidEnvironment, *, typed: bool) -> Slot:
    """The slot for one Liquid string of the template's field `where`.

    `typed` lets a lone placeholder keep its type. Raises TemplateError for a syntax error or an unknown
    filter, tag or variable.
    """
    if "{{" not in liquid and "{%" not in liquid:
        return Literal(liquid)
    template = _parsed(liquid, where, environment)
    list(columns_of(template, where))
    nodes = [node for node in template.nodes if not _is_blank(node)]
    if typed and len(nodes) == 1 and isinstance(nodes[0], OutputNode):
        return _typed(template, nodes[0].expression)
    return Text(template)


def columns_of(template: BoundTemplate, where: str) -> Iterator[str]:
    """Each column that a template reads; raises TemplateError for a variable that is not `row.<column>`."""
    for name, variables in template.analyze().globals.items():
        for variable in variables:
            segments = variable.segments
            if name != "row":
                raise TemplateError(f"{where}: unknown variable {variable}: write row.{variable}")
            if len(segments) < 2 or not isinstance(segments[1], str):
                raise TemplateError(f"{where}: {variable} names no column: write row.<column>")
            yield segments[1]


def slot_columns(slot: Slot, where: str) -> set[str]:
    """The columns that a slot reads."""
    if isinstance(slot, Column):
        return {slot.name}
    if isinstance(slot, Placeholder | Text):
        return set(columns_of(slot.template, where))
    return set()


def _parsed(liquid: str, where: str, environment: LiquidEnvironment) -> BoundTemplate:
    try:
        template = environment.from_string(liquid)
        unknown = set(template.filter_names()) - set(environment.filters)
    except LiquidError as error:
        raise TemplateError(f"{where}: {_words(error)} in {liquid!r}") from None
    if unknown:
        names = ", ".join(sorted(unknown))
        raise TemplateError(f"{where}: unknown filter {names} in {liquid!r}")
    return template


def _typed(template: BoundTemplate, expression: Expression) -> Slot:
    filters = (expression.filters or []) if isinstance(expression, FilteredExpression) else []
    left = expression.left if isinstance(expression, FilteredExpression) else expression
    if not filters and isinstance(left, Path) and len(left.path) == 2 and isinstance(left.path[1], str):
        return Column(left.path[1])
    return Placeholder(template, expression, is_json=bool(filters) and filters[-1].name == "json")


def _is_blank(node: Node) -> bool:
    return isinstance(node, ContentNode) and not node.text.strip()


def _refusal(template: BoundTemplate, error: Exception) -> ProblemError:
    words = _words(error) if isinstance(error, LiquidError) else "the json filter gave no JSON"
    return ProblemError(Reason.TEMPLATE_ERROR, f"{words} in {template!s}")


def _words(error: LiquidError) -> str:
    return str(error.message or error).splitlines()[0]
