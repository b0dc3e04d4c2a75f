"""Liquid's text and tags as Python: what is written, and what is assigned on the way."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from liquid import BoundTemplate, RenderContext
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.capture_tag import CaptureNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.doc_tag import DocNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.liquid_tag import LiquidNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.expression import Expression

from lago_pipeline.render.expressions import MISSING, Expressions, Term
from lago_pipeline.render.function_source import FunctionSource, Uncovered
from lago_pipeline.render.liquid import ExactEchoNode, ExactOutputNode, output_text


class Nodes:
    """Writes the nodes of one template, whose output is gathered in a variable of its own."""

    def __init__(self, source: FunctionSource, template: BoundTemplate, column: Callable[[str], str]) -> None:
        self._source = source
        self._template = template
        self._expressions = Expressions(source, template, column)
        self._context = RenderContext(template)

    def text(self) -> Term:
        """The template's output; raises Uncovered where a tag is left to python-liquid."""
        return self._gathered(self._template.nodes)

    def _gathered(self, nodes: Iterable[Node]) -> Term:
        """What nodes write, as one value."""
        writer = _Writer(self._source)
        self._write(nodes, writer)
        return writer.text()

    def _write(self, nodes: Iterable[Node], writer: "_Writer") -> None:
        for node in nodes:
            self._node(node, writer)

    def _node(self, node: Node, writer: "_Writer") -> None:
        match node:
            case ContentNode():
                writer.add(self._source.constant(node.text))
            case ExactOutputNode() | ExactEchoNode():
                writer.add(self._output(self._expressions.term(node.expression)))
            case AssignNode():
                self._expressions.variables[str(node.name)] = self._expressions.term(node.expression)
            case CaptureNode():
                self._expressions.variables[str(node.name)] = self._captured(node.block)
            case IfNode():
                self._branches("", node, writer)
            case UnlessNode():
                self._branches("not ", node, writer)
            case LiquidNode() | BlockNode():
                self._block(node.block if isinstance(node, LiquidNode) else node, writer)
            case CommentNode() | DocNode():
                pass
            case _:
                raise Uncovered

    def _output(self, term: Term) -> str:
        if term.is_text:
            return term.source
        written = f"{self._source.constant(output_text)}({term.source})"
        return self._source.once(f"{term.source} if type({term.source}) is str else {written}")

    def _captured(self, block: BlockNode) -> Term:
        writer = _Writer(self._source)
        self._block(block, writer)
        return writer.text()

    def _block(self, block: BlockNode, writer: "_Writer") -> None:
        """A block that could write blanks only writes nothing."""
        self._write(block.nodes, _Writer(self._source) if block.blank else writer)

    def _branches(self, negation: str, node: IfNode | UnlessNode, writer: "_Writer") -> None:
        writer.flush()
        assigned = self._merged(node)
        conditions: Sequence[tuple[Expression, BlockNode]] = [
            (node.condition, node.consequence),
            *((each.expression, each.block) for each in node.alternatives),
        ]
        self._arms(negation, conditions, node.default, assigned, writer)
        for name, merged in assigned.items():
            self._expressions.variables[name] = Term(merged, may_be_missing=True)

    def _arms(
        self,
        negation: str,
        conditions: Sequence[tuple[Expression, BlockNode]],
        default: BlockNode | None,
        assigned: dict[str, str],
        writer: "_Writer",
    ) -> None:
        (condition, block), *others = conditions
        with self._source.block(f"if {negation}{self._expressions.truth(condition)}:"):
            self._arm(block, assigned, writer)
        if not others and default is None:
            return
        with self._source.block("else:"):
            if others:
                self._arms("", others, default, assigned, writer)
            elif default is not None:
                self._arm(default, assigned, writer)

    def _arm(self, block: BlockNode, assigned: dict[str, str], writer: "_Writer") -> None:
        with self._own_variables():
            self._block(block, writer)
            writer.flush()
            for name, merged in assigned.items():
                if name in self._expressions.variables:
                    self._source.line(f"{merged} = {self._expressions.variables[name].source}")

    @contextmanager
    def _own_variables(self) -> Iterator[None]:
        """What a branch assigns is known within it only."""
        outside = dict(self._expressions.variables)
        try:
            yield
        finally:
            self._expressions.variables = outside

    def _merged(self, node: Node) -> dict[str, str]:
        """A variable for each name that the branches may assign, with the value that it has before them."""
        merged = {}
        for name in sorted(set(self._assigned(node))):
            before = self._expressions.variables.get(name)
            merged[name] = self._source.name()
            self._source.line(
                f"{merged[name]} = {before.source if before else self._source.constant(MISSING)}"
            )
        return merged

    def _assigned(self, node: Node) -> Iterator[str]:
        for child in node.children(self._context):
            yield from map(str, child.template_scope())
            yield from self._assigned(child)


class _Writer:
    """Parts of a text, gathered in a variable as soon as there are branches."""

    def __init__(self, source: FunctionSource) -> None:
        self._source = source
        self._parts: list[str] = []
        self._name: str | None = None

    def add(self, part: str) -> None:
        """Write a part."""
        self._parts.append(part)

    def flush(self) -> None:
        """Write what waits here and now, before or at the end of a branch."""
        if self._name is None:
            self._name = self._source.name()
            self._source.line(f"{self._name} = ''")
        if self._parts:
            self._source.line(f"{self._name} += {' + '.join(self._parts)}")
            self._parts.clear()

    def text(self) -> Term:
        """All that was written."""
        if self._name is not None:
            self.flush()
            return Term(self._name, is_text=True)
        return Term(self._source.once(" + ".join(self._parts) or "''"), is_text=True)
