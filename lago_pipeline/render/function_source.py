"""The source of a Python function in the making: lines, constants, and what it has worked out already."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

_WRITTEN = (str, int, bool, type(None))
"""Types whose constants Python's own notation gives back exactly."""
_MOST_BLOCKS = 40
"""Python refuses more than a hundred."""


class Uncovered(Exception):
    """Liquid that this compiler leaves to python-liquid."""


class FunctionSource:
    """Lines of Python within nested blocks.

    A name is given a value once, so that equal expressions can share it: `once` finds the name again in the
    same block and in those within, which are the places that are reached only after it has its value.
    """

    def __init__(self) -> None:
        self.constants: dict[str, object] = {}
        self._constant_names: dict[object, str] = {}
        self._lines: list[str] = []
        self._known: list[dict[str, str]] = [{}]
        self._names = 0

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def constant(self, value: object) -> str:
        """What stands for a value; equal notation means the same value."""
        if type(value) in _WRITTEN:
            return repr(value)
        key = repr(value) if type(value) is Decimal else id(value)
        name = self._constant_names.setdefault(key, f"k{len(self._constant_names)}")
        self.constants[name] = value  # which keeps the value, and so its id, alive
        return name

    def name(self) -> str:
        """A name that nothing has yet."""
        self._names += 1
        return f"v{self._names}"

    def line(self, text: str) -> None:
        """Add a line to the block."""
        self._lines.append("    " * (len(self._known) - 1) + text)

    def once(self, text: str) -> str:
        """The name of an expression's value, which is worked out here unless it is known."""
        for known in self._known:
            if text in known:
                return known[text]
        name = self.name()
        self.line(f"{name} = {text}")
        self._known[-1][text] = name
        return name

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """A block under a line that ends with a colon; raises Uncovered where Python allows no more."""
        if len(self._known) > _MOST_BLOCKS:
            raise Uncovered
        self.line(head)
        self._known.append({})
        try:
            yield
            self.line("pass")
        finally:
            self._known.pop()

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """Lines that are taken back where Uncovered is raised among them, and the error goes on."""
        lines, known = len(self._lines), dict(self._known[-1])
        try:
            yield
        except Uncovered:
            del self._lines[lines:]
            self._known[-1] = known
            raise
