"""Batches in flight: a bounded number at once, results taken in the caller's thread."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from lago_pipeline.deliver.result import BatchResult
from lago_pipeline.event import Event

Send = Callable[[list[Event]], BatchResult]


class Flight:
    """Sends batches over worker threads, at most two a worker waiting, until `stop` is set."""

    def __init__(self, concurrency: int, stop: threading.Event) -> None:
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="lago-delivery")
        self._most = 2 * concurrency
        self._stop = stop
        self._batches: dict[Future[BatchResult], list[Event]] = {}

    def run(self, batches: Iterable[list[Event]], send: Send, taken: Callable[[BatchResult], None]) -> None:
        """Send every batch and hand each result to `taken`; batches after a stop come back as pending.

        When the caller's thread is interrupted, what is in flight still lands and is handed over; batches
        that had not left are neither sent nor handed over.
        """
        try:
            for batch in batches:
                if self._stop.is_set():
                    taken(BatchResult(pending=batch))
                    continue
                self._batches[self._pool.submit(send, batch)] = batch
                if len(self._batches) >= self._most:
                    self._land(taken, FIRST_COMPLETED)
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._land_all(taken)

    def close(self) -> None:
        """End the worker threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _land_all(self, taken: Callable[[BatchResult], None]) -> None:
        while self._batches:
            if self._stop.is_set():
                self._recall(taken)
            if self._batches:
                self._land(taken, FIRST_COMPLETED)

    def _recall(self, taken: Callable[[BatchResult], None]) -> None:
        """Take back the batches that no worker has begun."""
        for future in [future for future in self._batches if future.cancel()]:
            taken(BatchResult(pending=self._batches.pop(future)))

    def _land(self, taken: Callable[[BatchResult], None], when: str) -> None:
        done, _ = wait(self._batches, return_when=when)
        for future in done:
            del self._batches[future]
            taken(future.result())
