"""Where in a template something stands: its field, line and column, and the piece underlined."""

import re
from dataclasses import dataclass

from lago_pipeline.errors import TemplateError
from lago_pipeline.refusals import shortened

_PIECE = re.compile(r"""(?: ' [^']* ' | " [^"]* " | \[ [^\[\]]* \] | [^\s|,:(){}%\[\]] )+""", re.VERBOSE)
"""A path, a word or a literal."""


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of the Liquid of a template's field `where`; `index` is None where nobody knows which piece."""

    where: str
    liquid: str
    index: int | None = None

    def error(self, words: str, hint: str = "") -> TemplateError:
        """An error of one line; its note, which Python and Dagster show below, underlines the piece."""
        error = TemplateError(f"{self.where}: {words} {self._position()}{hint}")
        if self._is_known:
            error.add_note(self._underlined(words))
        return error

    @property
    def _is_known(self) -> bool:
        return self.index is not None and 0 <= self.index < len(self.liquid)

    def _position(self) -> str:
        shown = shortened(self.liquid, 200)
        if not self._is_known:
            return f"in {shown}"
        line, column = self._line_and_column()
        return f"in {shown} (line {line}, column {column})"

    def _line_and_column(self) -> tuple[int, int]:
        """Both counted from 1."""
        before = self.liquid[: self.index]
        return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1

    def _underlined(self, words: str) -> str:
        line, column = self._line_and_column()
        text = self.liquid.split("\n")[line - 1]
        piece = _PIECE.match(text, column - 1)
        marks = "^" * (len(piece[0]) if piece else 1)
        margin = " " * len(str(line))
        return f"{margin} {self.where}\n{line} | {text}\n{margin} | {' ' * (column - 1)}{marks} {words}"
