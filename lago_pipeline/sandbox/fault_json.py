"""Reading fault rules from JSON: from the admin endpoint, the command line, or a test's dictionaries."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from lago_pipeline.sandbox.faults import KINDS, FaultRule, InvalidFaultError


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


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("kind", "path", "method", "contains", "body", "location"), (str,)),
    **dict.fromkeys(("status", "more_than", "times", "every", "seed"), (int,)),
    **dict.fromkeys(("probability", "seconds", "reset_seconds", "retry_after"), (int, float)),
    "details": (str, dict),
    "commit": (bool,),
}
_NEVER_NULL = {"kind", "every", "seed", "seconds", "commit", "body"}


def _check(name: str, value: object) -> None:
    """Refuse a value of the wrong type by its key's name."""
    if value is None and name not in _NEVER_NULL:
        return
    allowed = _TYPES[name]
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise InvalidFaultError(f"fault {name} cannot be {value!r}")
