"""Faults on demand: which requests misbehave, and how.

A rule as JSON, every key but `kind` optional:

    {"kind": "status", "status": 503, "path": "/events/batch", "method": "POST", "times": 3, "every": 1,
     "probability": null, "seed": 0, "seconds": 0.05, "reset_seconds": 1, "retry_after": null}

    status              answer `status` with Lago's JSON body, processing nothing
    html                answer `status` (default 502) with a proxy's HTML page, processing nothing
    rate_limit          answer 429 with X-RateLimit-* (`reset_seconds`) and Retry-After (`retry_after`)
    latency             wait `seconds`, then go on
    drop_before         cut the TCP connection, processing nothing
    drop_after          process and commit, then cut the connection without an answer
    commit_then_status  process and commit, then answer `status` (default 500)

`path` is a prefix after /api/v1; without one a rule concerns POSTs to /events, with one every method
unless `method` says otherwise. `every` fires on each n-th matching request, `probability` with a
generator seeded by `seed`, `times` ends the rule after so many firings.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

Kind = Literal["status", "html", "rate_limit", "latency", "drop_before", "drop_after", "commit_then_status"]
KINDS: tuple[str, ...] = get_args(Kind)

_DEFAULT_STATUS = {"html": 502, "rate_limit": 429}


class InvalidFaultError(ValueError):
    """A rule that cannot be understood; the message names the key and what is allowed."""


@dataclass(frozen=True)
class FaultRule:
    """One rule, as the module describes it."""

    kind: Kind
    status: int | None = None
    path: str | None = None
    method: str | None = None
    times: int | None = None
    every: int = 1
    probability: float | None = None
    seed: int = 0
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

    @property
    def answer_status(self) -> int:
        """The status to answer with."""
        return self.status if self.status is not None else _DEFAULT_STATUS.get(self.kind, 500)

    def concerns(self, method: str, path: str) -> bool:
        """Tell whether a request (its path after /api/v1) is one that this rule looks at."""
        wanted = self.method or ("POST" if self.path is None else None)
        return (wanted is None or wanted.upper() == method) and path.startswith(self.path or "/events")


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
    """The rules in force. Latencies add up; of the other kinds the first rule that fires decides."""

    def __init__(self, rules: Iterable[FaultRule] = ()) -> None:
        self._armed: list[_Armed] = []
        self.replace(rules)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Put other rules in force, with fresh counters."""
        self._armed = [_Armed(rule) for rule in rules]

    def strike(self, method: str, path: str) -> tuple[float, FaultRule | None]:
        """Say how long this request waits and which fault, if any, befalls it."""
        seconds = 0.0
        for armed in self._armed:
            if not armed.rule.concerns(method, path) or not armed.fires():
                continue
            if armed.rule.kind != "latency":
                return seconds, armed.rule
            seconds += armed.rule.seconds
        return seconds, None

    def describe(self) -> list[dict[str, object]]:
        """List the rules with their counters."""
        return [asdict(armed.rule) | {"seen": armed.seen, "fired": armed.fired} for armed in self._armed]


def rules_from_json(value: object) -> list[FaultRule]:
    """Read a list of rules, one rule, or `{"faults": [...]}`."""
    if isinstance(value, Mapping) and "faults" in value:
        value = value["faults"]
    found = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [_rule(item) for item in found]


def _rule(value: object) -> FaultRule:
    if not isinstance(value, Mapping):
        raise InvalidFaultError(
            f"a fault is an object like {{'kind': 'status', 'status': 503}}, not {value!r}"
        )
    known = {field.name for field in fields(FaultRule)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise InvalidFaultError(f"unknown fault key {unknown[0]!r}; allowed are {', '.join(sorted(known))}")
    if "kind" not in value:
        raise InvalidFaultError(f"a fault needs a kind: one of {', '.join(KINDS)}")
    for name, item in value.items():
        _check(str(name), item)
    return FaultRule(**value)


def _check(name: str, value: object) -> None:
    """Refuse a value of the wrong type by its key's name."""
    optional = name not in {"kind", "every", "seed", "seconds"}
    if value is None and optional:
        return
    allowed: type | tuple[type, ...] = (int, float)
    if name in {"kind", "path", "method"}:
        allowed = str
    elif name in {"status", "times", "every", "seed"}:
        allowed = int
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise InvalidFaultError(f"fault {name} cannot be {value!r}")
