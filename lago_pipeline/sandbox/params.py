"""Strong parameters: what of an event's JSON reaches Lago's code, and as which type.

Source: Lago's `api/v1/events_controller.rb` (`create_params`, `batch_params`) and Rails' own rules.
Everything that is not permitted is dropped without a word.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import cast

from lago_pipeline.sandbox.answers import crashed, invalid, missing_root
from lago_pipeline.sandbox.bodies import Params
from lago_pipeline.sandbox.numbers import EXACT, float_text, loose, plain

_AMOUNT_SCALE = Decimal(1).scaleb(-15)  # the column is numeric(40, 15)
_WIDEST_AMOUNT = 300  # powers of ten that are not worth printing


def root(params: Params, name: str) -> Params:
    """Require a root object (Rails: `params.require(name).permit(...)`)."""
    value = params.get(name)
    if isinstance(value, dict) and value:
        return value
    if value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip()):
        raise missing_root(name)
    raise crashed()


def batch(params: Params) -> list[Params]:
    """Take the objects of `events`; anything else in the list is dropped and so shifts the indexes."""
    value = params.get("events")
    if isinstance(value, dict) and value:
        raise crashed()
    events = [item for item in value if type(item) is dict] if isinstance(value, list) else []
    if not events:
        raise invalid({"events": ["no_events"]})
    return events


def text(value: object) -> str | None:
    """Cast a scalar to a string column; null, objects and arrays are absent."""
    if type(value) is str:
        return value
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "t" if value else "f"  # ActiveModel::Type::String
    return float_text(value) if isinstance(value, float) else str(value)


def properties(value: object) -> dict[str, object]:
    """Take an object as it is, without the nulls in its arrays; anything else is an empty object."""
    if type(value) is not dict:
        return {}
    found = cast("dict[str, object]", value)
    for item in found.values():
        if type(item) is list or type(item) is dict:
            return {key: _compact(nested) for key, nested in found.items()}
    return found


def _compact(value: object) -> object:
    """Drop the nulls of arrays (Rails: `ActionDispatch::Request::Utils::NoNilParamEncoder`)."""
    if isinstance(value, list):
        return [_compact(item) for item in value if item is not None]
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    return value


def amount(value: object) -> str | None:
    """Cast `precise_total_amount_cents` to a decimal; text that is no number is silently 0."""
    number = _number(value)
    if number is None:
        return None
    if not number.is_finite() or number.adjusted() > _WIDEST_AMOUNT:
        raise crashed()
    return plain(number.quantize(_AMOUNT_SCALE, rounding=ROUND_HALF_UP, context=EXACT))


def _number(value: object) -> Decimal | None:
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, str):
        return loose(value) if value.strip() else None
    return Decimal(float_text(value)) if isinstance(value, float) else Decimal(int(cast("int", value)))


def blank(value: str | None) -> bool:
    """Tell whether Rails calls a text blank: absent, empty, or only white space."""
    return value is None or not value.strip()


def mandatory(fields: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Name the fields that are blank, as Lago's presence validations do."""
    return {name: ["value_is_mandatory"] for name, value in fields.items() if blank(value)}
