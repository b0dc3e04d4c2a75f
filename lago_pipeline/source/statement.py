"""The SQL of a source: a table or a person's query, with colons that are no bounds made literal."""

import re
from collections.abc import Mapping
from string import whitespace

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name

from lago_pipeline.errors import ConfigError
from lago_pipeline.source.dialects import dialect_named
from lago_pipeline.source.window import TimeWindow
from lago_pipeline.sync import Source

_TABLE_PART = re.compile(r'"((?:[^"]|"")+)"|`((?:[^`]|``)+)`|([^."`]+)')
_COMMENTS = ("--", "/*", "#")
_OWN_BOUND = re.compile(r"(?<![:\w\\]):(start|end)\b")


class SourceStatement:
    """What is selected from: a table, or a person's query with its own colons made literal."""

    def __init__(self, source: Source, engine: sa.Engine) -> None:
        self._preparer = engine.dialect.identifier_preparer
        self._dialect = dialect_named(engine.dialect.name)
        self.time_column = self.quoted_column(source.time_column)
        literals = self._dialect.literals
        self._text = _literal_colons(source.query, literals) if source.query is not None else ""
        self._table = self._quoted_table(source.table) if source.table else None
        names = set(_OWN_BOUND.findall(literals.sub("''", source.query or "")))
        if len(names) == 1:
            raise ConfigError("source.query uses one of :start and :end: use both or neither")
        self.has_own_window = len(names) == 2

    def probe(self) -> str:
        """A query for no rows, which tells the columns."""
        return f"select * from {self.relation} where 1 = 0"

    def windowed(self, window: TimeWindow) -> str:
        """The query for the rows of a window, and for those that only the exact test can tell from them."""
        if self.has_own_window:
            return self._text
        return f"select * from {self.relation} where {window.condition(self.time_column)}"

    def within(self, window: TimeWindow) -> str:
        """The condition on the rows of `relation` that puts them in a window."""
        return f"({window.condition(self.time_column)})"

    def bounds(self, window: TimeWindow) -> Mapping[str, object]:
        """The values that the names in `windowed` and `within` stand for."""
        return window.own_bounds() if self.has_own_window else window.bounds()

    @property
    def relation(self) -> str:
        """What stands after `from`."""
        return self._table or f"(\n{self._text}) usage_rows"

    def quoted_column(self, name: str) -> str:
        """A column's name as SQL."""
        return self._quoted(name, always=True)

    def _quoted_table(self, table: str) -> str:
        """The table as SQL; parts are quoted where they must be, or stand in quotation marks already.

        Where names have no case, all are: databases have keywords that SQLAlchemy does not know.
        """
        always = self._dialect.ignores_case
        parts = [
            self._quoted(
                quoted.replace('""', '"') or ticked.replace("``", "`") or plain,
                always=always or bool(quoted or ticked),
            )
            for quoted, ticked, plain in _TABLE_PART.findall(table)
        ]
        return ".".join(parts)

    def _quoted(self, name: str, *, always: bool) -> str:
        """A name for `sa.text`, which doubles `%` itself where the driver needs it, and reads colons."""
        quoted: str = self._preparer.quote(quoted_name(name, quote=always or None))
        if self._preparer._double_percents:  # noqa: SLF001 - else a `%` would come out twice
            quoted = quoted.replace("%%", "%")
        return quoted.replace(":", r"\:")


def _literal_colons(query: str, literals: re.Pattern[str]) -> str:
    """The query with every colon escaped but those of its own :start and :end, and no trailing `;`.

    The newline ends a trailing `-- comment`.
    """
    pieces, position = [], 0
    for literal in literals.finditer(query):
        pieces += [_escaped(query[position : literal.start()]), literal[0].replace(":", r"\:")]
        position = literal.end()
    text = "".join([*pieces, _escaped(query[position:])])
    return _without_semicolon(text, literals) + "\n"


def _escaped(sql: str) -> str:
    return _OWN_BOUND.sub("\x00\\1", sql).replace(":", r"\:").replace("\x00", ":")


def _without_semicolon(sql: str, literals: re.Pattern[str]) -> str:
    """Drop every `;` at the end, also before a comment."""
    bare = literals.sub(
        lambda literal: (" " if literal[0].startswith(_COMMENTS) else "x") * len(literal[0]), sql
    )
    end = len(bare.rstrip(whitespace + ";"))
    tail = zip(sql[end:], bare[end:], strict=True)
    return sql[:end] + "".join(" " if seen == ";" else character for character, seen in tail)
