"""Hooks for metrics systems: what a delivery does, told while it does it.

    from lago_pipeline.instrumentation import on_retry

    on_retry(lambda retry: RETRIES.labels(retry.sync).inc())

A hook is called in the delivery's own threads (`on_retry` in those that send), so it must be quick. One that
raises is logged and otherwise ignored: no metrics system may stop billing. Registering returns a function
that removes the hook again.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchDetails:
    """A batch is done: so many of its events are accepted, refused, duplicates, or without an answer."""

    sync: str
    partition: str
    events: int
    accepted: int
    refused: int
    duplicates: int
    pending: int


@dataclass(frozen=True, slots=True)
class RetryDetails:
    """A request is going to be tried again: after which try, why, and after how many seconds."""

    sync: str
    partition: str
    attempt: int
    words: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class RefusedDetails:
    """An event will not be billed: its final state and why; `http_status` where Lago refused it."""

    sync: str
    partition: str
    row_key: str
    status: str
    reason: str
    http_status: int | None


@dataclass(frozen=True, slots=True)
class ProgressDetails:
    """How far the delivery of a partition is; told about twice a second.

    `limit` is how many requests may be in flight now, `seconds` how long it has taken.
    """

    sync: str
    partition: str
    done: int
    total: int
    seconds: float
    limit: int

    @property
    def events_per_second(self) -> float:
        """The rate so far."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """When it will be done at this rate; 0 while the rate is not known."""
        return (self.total - self.done) / self.events_per_second if self.done and self.seconds else 0.0


Details = TypeVar("Details")
Remove = Callable[[], None]
_hooks: dict[type[Any], list[Callable[[Any], object]]] = {}


def on_batch(hook: Callable[[BatchDetails], object]) -> Remove:
    """Call a hook whenever a batch is done."""
    return _registered(BatchDetails, hook)


def on_retry(hook: Callable[[RetryDetails], object]) -> Remove:
    """Call a hook before a request is tried again."""
    return _registered(RetryDetails, hook)


def on_refused(hook: Callable[[RefusedDetails], object]) -> Remove:
    """Call a hook for every event that is found not to be billed."""
    return _registered(RefusedDetails, hook)


def on_progress(hook: Callable[[ProgressDetails], object]) -> Remove:
    """Call a hook about twice a second while a partition is delivered."""
    return _registered(ProgressDetails, hook)


def is_heard(kind: type[Any]) -> bool:
    """Whether anybody wants such details, so that they need not be made for nobody."""
    return bool(_hooks.get(kind))


def tell(details: object) -> None:
    """Call the hooks for such details."""
    for hook in tuple(_hooks.get(type(details), ())):
        try:
            hook(details)
        except Exception:
            logger.exception("a hook for %s failed", type(details).__name__)


def _registered(kind: type[Details], hook: Callable[[Details], object]) -> Remove:
    hooks = _hooks.setdefault(kind, [])
    hooks.append(hook)
    return lambda: hooks.remove(hook)
