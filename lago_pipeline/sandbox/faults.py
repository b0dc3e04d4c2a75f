"""Faults on demand: which requests misbehave, and how.

A rule as JSON, every key but `kind` optional:

    {"kind": "status", "status": 503, "path": "/events/batch", "method": "POST", "contains": null,
     "more_than": null, "times": 3, "every": 1, "probability": null, "seed": 0, "commit": false,
     "details": null, "body": "OK", "location": null, "seconds": 0.05, "reset_seconds": 1,
     "retry_after": null}

Answers in the place of Lago's. Nothing is processed, unless `commit` says that it is, before the answer:

    status              `status` with Lago's JSON body, and `details` as its `error_details`
    commit_then_status  the same with `commit`: a crash after the commit
    html                `status` (default 502) with a proxy's HTML page
    empty               `status` (default 400) with an empty body
    text                `status` (default 200) with `body`, which is no JSON
    redirect            `status` (default 302) to `location`
    rate_limit          429 with X-RateLimit-* (`reset_seconds`) and Retry-After (`retry_after`)
    refuse              422 that names the events containing `contains`, each with `details`
    drop_before         none: the TCP connection is cut
    drop_after          the same with `commit`: a lost answer

Lago's own answer to what was processed and committed, spoiled on its way:

    answer_late         after `seconds`
    drip                a byte every `seconds`
    cut_answer          half of it, then the connection is cut
    half_answer         half of it, as if it were whole

Changes that let the request go on to the other rules:

    latency             wait `seconds` before processing, which happens though the client may have gone
    hide_details        a refusal comes without its `error_details`
    partial_store       a batch refused for duplicates leaves its other events stored (Lago 1.32.4 to 1.38)

`path` is a prefix after /api/v1; without one a rule concerns POSTs to /events, with one every method
unless `method` says otherwise. `contains` chooses requests with such text in an event's compact JSON,
`more_than` those with more events. Of these `every` fires on each n-th, `probability` with a generator
seeded by `seed`, and `times` ends the rule after so many firings.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, get_args

import orjson

Kind = Literal[
    "status", "commit_then_status", "html", "empty", "text", "redirect", "rate_limit", "refuse",
    "drop_before", "drop_after", "answer_late", "drip", "cut_answer", "half_answer",
    "latency", "hide_details", "partial_store",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)

_DEFAULT_STATUS = {"html": 502, "empty": 400, "text": 200, "redirect": 302, "rate_limit": 429, "refuse": 422}
_COMMITTING = {"commit_then_status", "drop_after"}
_CHANGES = {"latency", "hide_details", "partial_store"}
_REASON = {"properties": ["value_is_invalid"]}


class InvalidFaultError(ValueError):
    """A rule that cannot be understood; the message names the key and what is allowed."""


@dataclass(frozen=True)
class Asked:
    """What a rule looks at: method, path after /api/v1, and body of a request."""

    method: str
    path: str
    body: bytes = b""

    @cached_property
    def events(self) -> list[str]:
        """The posted events as compact JSON, in order; none when the body holds none."""
        try:
            root = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return []
        root = root if isinstance(root, dict) else {}
        posted = root.get("events", [root["event"]] if "event" in root else [])
        return [orjson.dumps(event).decode() for event in posted] if isinstance(posted, list) else []

    def naming(self, text: str) -> list[int]:
        """The indexes of the events that contain a text."""
        return [index for index, event in enumerate(self.events) if text in event]


@dataclass(frozen=True)
class FaultRule:
    """One rule, as the module describes it."""

    kind: Kind
    status: int | None = None
    path: str | None = None
    method: str | None = None
    contains: str | None = None
    more_than: int | None = None
    times: int | None = None
    every: int = 1
    probability: float | None = None
    seed: int = 0
    commit: bool = False
    details: str | Mapping[str, object] | None = None
    body: str = "OK"
    location: str | None = None
    seconds: float = 0.05
    reset_seconds: float | None = None
    retry_after: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidFaultError(f"fault kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.every < 1:
            raise InvalidFaultError(f"fault every must be 1 or more, not {self.every}")
        if self.status is not None and not 100 <= self.status <= 599:
            raise InvalidFaultError(f"fault status must be an HTTP status, not {self.status}")
        if self.kind == "redirect" and not self.location:
            raise InvalidFaultError("fault redirect needs a location")

    @property
    def answer_status(self) -> int:
        """The status to answer with."""
        return self.status if self.status is not None else _DEFAULT_STATUS.get(self.kind, 500)

    @property
    def commits(self) -> bool:
        """Whether the request is processed before this rule answers in Lago's place."""
        return self.commit or self.kind in _COMMITTING

    def concerns(self, asked: Asked) -> bool:
        """Tell whether a request is one that this rule looks at."""
        wanted = self.method or ("POST" if self.path is None else None)
        return (
            (wanted is None or wanted.upper() == asked.method)
            and asked.path.startswith(self.path or "/events")
            and (self.more_than is None or len(asked.events) > self.more_than)
            and (self.contains is None or bool(asked.naming(self.contains)))
        )

    def refusal(self, asked: Asked) -> str | Mapping[str, object]:
        """Lago's `error_details` for the events that this rule refuses: by index in a batch."""
        details = _REASON if self.details is None else self.details
        if asked.path != "/events/batch":
            return details
        return {str(index): details for index in asked.naming(self.contains or "")}


@dataclass(frozen=True)
class Strike:
    """What befalls one request: a wait, changes to how it is handled, and a rule that decides its answer."""

    seconds: float = 0.0
    changes: frozenset[str] = frozenset()
    rule: FaultRule | None = None


class _Armed:
    """A rule and how often it was looked at and fired."""

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self.seen = 0
        self.fired = 0
        self._random = random.Random(rule.seed)  # noqa: S311 - a repeatable choice, not a secret

    def fires(self) -> bool:
        if self.rule.times is not None and self.fired >= self.rule.times:
            return False
        self.seen += 1
        fires = self.seen % self.rule.every == 0 and self._chosen()
        self.fired += fires
        return fires

    def _chosen(self) -> bool:
        return self.rule.probability is None or self._random.random() < self.rule.probability


class Faults:
    """The rules in force. Latencies and changes add up; of the other rules the first that fires decides."""

    def __init__(self, rules: Iterable[FaultRule] = ()) -> None:
        self._armed: list[_Armed] = []
        self.replace(rules)

    def __bool__(self) -> bool:
        """Whether any rule is in force."""
        return bool(self._armed)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Put other rules in force, with fresh counters."""
        self._armed = [_Armed(rule) for rule in rules]

    def strike(self, asked: Asked) -> Strike:
        """Say what befalls this request."""
        seconds, changes = 0.0, set[str]()
        for armed in self._armed:
            rule = armed.rule
            if not rule.concerns(asked) or not armed.fires():
                continue
            if rule.kind not in _CHANGES:
                return Strike(seconds, frozenset(changes), rule)
            seconds += rule.seconds if rule.kind == "latency" else 0
            changes.add(rule.kind)
        return Strike(seconds, frozenset(changes))

    def describe(self) -> list[dict[str, object]]:
        """List the rules with their counters."""
        return [asdict(armed.rule) | {"seen": armed.seen, "fired": armed.fired} for armed in self._armed]
