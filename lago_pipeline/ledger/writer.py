"""The one thread of a delivery that writes into the ledger."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa

from lago_pipeline.errors import RetriableError
from lago_pipeline.ledger.database import ledger_errors, writing

_MOST_WAITING = 2
Result = TypeVar("Result")


class LedgerWriter:
    """Takes writing off the delivery's thread, one transaction after another, in the order they came.

    Sending goes on while a transaction is committed; and since signals reach only a process's main thread,
    Ctrl-C cannot cut a statement in the middle. With the `connection` that holds the partition's lock it
    writes only while the lock is held.
    """

    def __init__(self, engine: sa.Engine, connection: sa.Connection | None = None) -> None:
        self.engine = engine
        self._connection = connection
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        self._waiting: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)

    def now(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Do work in a transaction, after all that was left for later; returns its result once committed.

        Raises RetriableError where the ledger cannot be written, also for work that was left before.
        """
        self.wait()
        return self._pool.submit(self._transaction, work).result()

    def later(self, work: Callable[[sa.Connection], None]) -> None:
        """Leave work for later; waits only where too much is waiting. Raises what earlier work raised."""
        self._take(_MOST_WAITING - 1)
        self._waiting.append(self._pool.submit(self._transaction, work))

    def wait(self) -> None:
        """Wait until nothing is left; raises what earlier work raised."""
        self._take(0)

    def _take(self, most: int) -> None:
        """Wait until at most so many transactions wait, and raise the first error among those done."""
        while self._waiting and (len(self._waiting) > most or self._waiting[0].done()):
            self._waiting.popleft().result()

    def _transaction(self, work: Callable[[sa.Connection], Result]) -> Result:
        if self._connection is None:
            with writing(self.engine) as connection:
                return work(connection)
        if self._connection.invalidated:
            raise RetriableError("the connection to the ledger was lost, and with it the partition's lock")
        with ledger_errors(), self._connection.begin():
            return work(self._connection)
