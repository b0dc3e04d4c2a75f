"""The checks of one Lago: its URL, its key, what the key may do, and whose account it opens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property

from lago_pipeline.check.finding import Check, Level, Need, Told
from lago_pipeline.check.ledger import Ledger
from lago_pipeline.lago.client import LagoClient
from lago_pipeline.lago.probe import NO_EVENTS, Reply, ask, metric_path
from lago_pipeline.organization import Organization

_NEEDED = "event write and read, organization read, billable metric read and subscription read"
_WRONG_URL = "set LAGO_API_URL to Lago's API with its path: it ends in /api/v1"


@dataclass(frozen=True)
class Lago:
    """A destination by name; its client stays open until `stack` is closed.

    `code` is one of a billable metric to ask for, where a sync names one.
    """

    name: str
    destination: str
    connected: Callable[[], AbstractContextManager[LagoClient]]
    ledger: Ledger
    stack: ExitStack
    code: str | None = None
    needs: Sequence[Need] = ()
    neighbours: Mapping[str, str] = field(default_factory=lambda: {"ledger": "ledger"})

    @cached_property
    def client(self) -> LagoClient:
        """The client, opened once; raises ConfigError for a URL or key that cannot be one."""
        return self.stack.enter_context(self.connected())

    @cached_property
    def reply(self) -> Reply:
        """Lago's answer to the question for its organization."""
        return ask(self.client, "/organizations")

    @property
    def has_organization(self) -> bool:
        """Whether that answer is Lago's."""
        return bool(self.reply.part("organization").get("lago_id"))

    @property
    def organization(self) -> Organization:
        """The organization of that answer."""
        found = self.reply.part("organization")
        store = str(found.get("events_store") or "postgres")
        return Organization(str(found["lago_id"]), str(found.get("name") or ""), store)


def _reachable(lago: Lago) -> Iterable[Told]:
    """Only Lago answers 401 and 403 with its own words, or 200 with an organization."""
    status = lago.reply.status
    if 300 <= status < 400:
        says = f"{lago.client.api_url} answers with a redirect ({status}), which is never followed"
        yield Told(says, Level.ERROR, _WRONG_URL)
    elif status not in (401, 403) and not (status == 200 and lago.has_organization):
        yield Told(f"{lago.client.api_url} does not answer as Lago does ({status})", Level.ERROR, _WRONG_URL)
    else:
        yield Told(f"{lago.client.api_url} answers")


def _key(lago: Lago) -> Iterable[Told]:
    if lago.reply.status == 401:
        yield Told("Lago refuses the API key (401)", Level.ERROR, "set LAGO_API_KEY to a key of this Lago")
    else:
        yield Told("accepted")


def _organization_read(lago: Lago) -> Iterable[Told]:
    return _permission(lago.reply, "organization read", allowed=lago.reply.status == 200)


def _event_read(lago: Lago) -> Iterable[Told]:
    reply = ask(lago.client, "/events?per_page=1")
    return _permission(reply, "event read", allowed=reply.status == 200)


def _event_write(lago: Lago) -> Iterable[Told]:
    reply = ask(lago.client, "/events/batch", method="POST", data=NO_EVENTS)
    is_empty = reply.part("error_details").get("events") == ["no_events"]
    return _permission(reply, "event write", allowed=reply.status == 422 and is_empty)


def _metric_read(lago: Lago) -> Iterable[Told]:
    reply = ask(lago.client, metric_path(lago.code) if lago.code else "/billable_metrics?per_page=1")
    is_unknown = reply.status == 404 and reply.code == "billable_metric_not_found"
    return _permission(reply, "billable metric read", allowed=reply.status == 200 or is_unknown)


def _subscription_read(lago: Lago) -> Iterable[Told]:
    reply = ask(lago.client, "/subscriptions?per_page=1")
    return _permission(reply, "subscription read", allowed=reply.status == 200, level=Level.WARNING)


def _permission(reply: Reply, name: str, *, allowed: bool, level: Level = Level.ERROR) -> Iterable[Told]:
    if allowed:
        yield Told("allowed")
    elif reply.status == 403:
        yield Told(f"the API key lacks {name} (403)", level, f"give the key in Lago: {_NEEDED}")
    else:
        says = f"Lago answered {reply.status} {reply.code}".rstrip()
        yield Told(f"{says} to the question for {name}", level, "check LAGO_API_URL and Lago's version")


def _organization(lago: Lago) -> Iterable[Told]:
    found = lago.organization
    yield Told(f"{found.name or 'no name'} ({found.lago_id}), events in {found.events_store}")
    if found.events_store == "clickhouse":
        says = "ClickHouse keeps every copy of an event, unless the organization has deduplication"
        yield Told(says, Level.NOTE, "ask Lago whether clickhouse_deduplication_enabled is set for it")


def _same_organization(lago: Lago) -> Iterable[Told]:
    known = lago.ledger.organization_of(lago.destination)
    found = lago.organization
    if known is None:
        yield Told("the first run records it in the ledger")
    elif known != found.lago_id:
        says = f"this key is of {found.lago_id} ({found.name}), but the ledger belongs to {known}"
        yield Told(says, Level.ERROR, "use that organization's key, or another LEDGER_URL")
    else:
        yield Told("the ledger knows it")


def _lago_check(name: str, tell: Callable[[Lago], Iterable[Told]], *needs: str) -> Check[Lago]:
    remedy = "check LAGO_API_URL, and that Lago runs and this machine may reach it"
    return Check(name, tell, needs, remedy)


LAGO_CHECKS = (
    _lago_check("reachable", _reachable),
    _lago_check("key", _key, "reachable"),
    _lago_check("organization read", _organization_read, "key"),
    _lago_check("event read", _event_read, "key"),
    _lago_check("event write", _event_write, "key"),
    _lago_check("billable metric read", _metric_read, "key"),
    _lago_check("subscription read", _subscription_read, "key"),
    _lago_check("organization", _organization, "organization read"),
    _lago_check("same organization", _same_organization, "organization read", "ledger: schema"),
)
