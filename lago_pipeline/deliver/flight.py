"""Batches in flight: a bounded number at once, results taken in the caller's thread."""

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue

from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.event import Event

_LISTEN_SECONDS = 0.2
Work = tuple[Sequence[Event], Callable[[], BatchResult]]
"""Events, and what is to be done with them."""


class Flight:
    """Works over threads, at most two batches a worker waiting, until `stop` is set."""

    def __init__(self, concurrency: int, stop: threading.Event) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="lago-delivery")
        self._most = 2 * concurrency
        self._stop = stop
        self._flying: dict[Future[BatchResult], Sequence[Event]] = {}
        self._landed: SimpleQueue[Future[BatchResult]] = SimpleQueue()

    def run(self, works: Iterable[Work], taken: Callable[[BatchResult], None]) -> None:
        """Do every work and hand each result to `taken`; what comes after a stop comes back as pending.

        When the caller's thread is interrupted, what is in flight still lands and is handed over, and what
        no worker has begun is handed over as pending; the works that are left are not asked for.
        """
        try:
            for batch, work in works:
                if self._stop.is_set():
                    taken(BatchResult(pending=[*batch]))
                    continue
                self._begin(batch, work)
                self._land(taken, self._most - 1)
        except BaseException:
            self._stop.set()
            raise
        finally:
            if self._stop.is_set():
                self._recall()
            self._land(taken, 0)

    def close(self) -> None:
        """End the worker threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, batch: Sequence[Event], work: Callable[[], BatchResult]) -> None:
        future = self._pool.submit(work)
        self._flying[future] = batch
        future.add_done_callback(self._landed.put)

    def _recall(self) -> None:
        """Take back the batches that no worker has begun; they land at once."""
        for future in tuple(self._flying):
            future.cancel()

    def _land(self, taken: Callable[[BatchResult], None], most: int) -> None:
        """Hand over what has landed, and wait until at most so many batches fly."""
        while landed := self._next(most):
            batch = self._flying.pop(landed)
            if self._stop.is_set():
                self._recall()
            taken(BatchResult(pending=[*batch]) if landed.cancelled() else landed.result())

    def _next(self, most: int) -> Future[BatchResult] | None:
        """One that has landed; None where none is heard of and no more than so many fly."""
        while True:
            must_land = len(self._flying) > most
            landed = self._heard(must_land)
            if landed in self._flying:
                return landed
            if landed is None and not must_land:
                return None

    def _heard(self, must_land: bool) -> Future[BatchResult] | None:
        """The next word of one that has landed; after a long silence those that fly are asked.

        An interrupt may take a word from the queue that nobody heard.
        """
        try:
            return self._landed.get(must_land, _LISTEN_SECONDS)
        except Empty:
            return next((future for future in self._flying if future.done()), None) if must_land else None
