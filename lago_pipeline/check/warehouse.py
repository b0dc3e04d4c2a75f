"""The checks of one warehouse connection."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa

from lago_pipeline.check.finding import Check, Need, Told
from lago_pipeline.source.warehouse import source_errors


@dataclass(frozen=True)
class Warehouse:
    """A connection by name; it stays open until `stack` is closed."""

    name: str
    connected: Callable[[], AbstractContextManager[sa.Engine]]
    stack: ExitStack
    needs: Sequence[Need] = ()
    neighbours: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def engine(self) -> sa.Engine:
        """The engine, opened once; raises ConfigError for a URL that names no database."""
        return self.stack.enter_context(self.connected())


def _reachable(warehouse: Warehouse) -> Iterable[Told]:
    engine = warehouse.engine
    with source_errors(engine, warehouse.name), engine.connect() as connection:
        connection.execute(sa.text("select 1"))
    yield Told(f"{engine.dialect.name} answers")


WAREHOUSE_CHECKS = (
    Check(
        "reachable",
        _reachable,
        remedy="check the warehouse's URL, its account, and that this machine may reach it",
    ),
)
