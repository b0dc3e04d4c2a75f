"""The Liquid dialect of event templates: python-liquid with exact numbers, fixed zones and no clock.

python-liquid is the only parser. What is ours are the filters (`filters.py`), how numbers enter and leave
an expression, and what is missing: no clock, no other templates.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from liquid import BoundTemplate, Environment, FalsyStrictUndefined
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, TernaryFilteredExpression
from liquid.builtin.expressions.primitive import FloatLiteral
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.echo_tag import EchoNode, EchoTag
from liquid.context import RenderContext
from liquid.expression import Expression
from liquid.undefined import is_undefined
from liquid.utils import ReadOnlyChainMap

from lago_pipeline.render.filters import exact_filters
from lago_pipeline.values import exact, value_text


class ExactContext(RenderContext):
    """Looks values up in a row; a float becomes the decimal that it prints as.

    Without python-liquid's own `now` and `today`: an event does not depend on when it is rendered.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - python-liquid's
        super().__init__(*arguments, **options)
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)

    def get_item(self, obj: Any, key: Any) -> Any:  # noqa: ANN401 - python-liquid's
        """One step of a path such as `row.meta.key`."""
        return exact(super().get_item(obj, key))


class ExactOutputNode(OutputNode):
    """`{{ ... }}` inside text, written with the same spelling of numbers and instants as a typed value."""

    def render_to_output(self, context: RenderContext, buffer: Any) -> int:  # noqa: ANN401 - python-liquid's
        """Write the value."""
        return int(buffer.write(output_text(self.expression.evaluate(context))))


class _ExactOutput(Output):
    node_class = ExactOutputNode


class ExactEchoNode(ExactOutputNode, EchoNode):
    """`{% echo ... %}`, likewise."""


class _ExactEcho(EchoTag):
    node_class = ExactEchoNode


class LiquidEnvironment(Environment):
    """python-liquid with strict variables and filters, ternaries, `json`, and exact arithmetic.

    A key that a JSON column lacks may be tested with `if` and replaced with `default`; any other use of it
    is an error. `zone` is the source's time zone.
    """

    ternary_expressions = True
    logical_parentheses = True
    logical_not_operator = True

    def __init__(self, zone: ZoneInfo) -> None:
        super().__init__(undefined=FalsyStrictUndefined, strict_filters=True)
        self.add_tag(_ExactOutput)
        self.add_tag(_ExactEcho)
        for other_templates in ("include", "render"):
            del self.tags[other_templates]
        self.filters.update(exact_filters(self.filters, zone))


def make_literals_exact(template: BoundTemplate) -> None:
    """Turn the fractions written in a template into the decimals that they spell."""
    context = RenderContext(template)
    for expression in _expressions(template.nodes, context):
        if isinstance(expression, FloatLiteral):
            expression.value = Decimal(expression.token.value)  # type: ignore[assignment]


def without_json(expression: Expression) -> Expression:
    """A lone placeholder without its trailing `json`: values are encoded later, once."""
    if isinstance(expression, TernaryFilteredExpression):
        without_json(expression.left)
        expression.filters = _without_json(expression.filters)
        expression.tail_filters = _without_json(expression.tail_filters)
    elif isinstance(expression, FilteredExpression):
        expression.filters = _without_json(expression.filters)
    return expression


def _without_json(filters: list[Any] | None) -> list[Any] | None:
    return filters[:-1] if filters and filters[-1].name == "json" else filters


def _expressions(nodes: Iterable[Node], context: RenderContext) -> Iterator[Expression]:
    for node in nodes:
        for expression in node.expressions():
            yield from _with_parts(expression)
        yield from _expressions(node.children(context), context)


def _with_parts(expression: Expression) -> Iterator[Expression]:
    yield expression
    for part in expression.children():
        yield from _with_parts(part)


def output_text(value: object) -> str:
    """What `{{ ... }}` writes into a text."""
    if isinstance(value, list):
        return "".join(output_text(item) for item in value)
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    if is_undefined(value):
        return str(value)  # the strict undefined raises here, in its own words
    return value_text(value)
