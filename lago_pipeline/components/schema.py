"""The JSON schema of a component, as `dg check yaml`, editors and the UI read it."""

from functools import cache
from typing import Any, get_args

import dagster as dg
from pydantic import BaseModel, create_model

JsonSchema = dict[str, Any]


class DescribedSchema(dg.Resolvable):
    """A component whose schema describes every field, and points into a section rather than at it.

    Dagster drops the description of a field that has a default. It also lets every section be a text for
    Jinja, so that one wrong key in a section is reported as "the section is none of the allowed".
    """

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The model that Dagster derives, with the better schema."""
        return _with_better_schema(cls, super().model())  # type: ignore[arg-type] # mypy takes a class for unhashable


@cache
def _with_better_schema(owner: type[BaseModel], derived: type[BaseModel]) -> type[BaseModel]:
    better = create_model(derived.__name__, __base__=derived, __doc__=derived.__doc__)
    plain = better.model_json_schema

    def model_json_schema(*args: Any, **options: Any) -> JsonSchema:  # noqa: ANN401 - pydantic's own
        return _better(owner, plain(*args, **options))

    better.model_json_schema = model_json_schema  # type: ignore[method-assign] # called on the class only
    return better


def _better(owner: type[BaseModel], schema: JsonSchema) -> JsonSchema:
    _describe(owner, schema)
    for section in sections(owner).values():
        if (nested := schema.get("$defs", {}).get(f"{section.__name__}Model")) is not None:
            _describe(section, nested)
    return schema


def sections(owner: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The fields of a model that are sections of their own, and what each holds."""
    return {
        name: kind
        for name, field in owner.model_fields.items()
        for kind in (field.annotation, *get_args(field.annotation))
        if isinstance(kind, type) and issubclass(kind, dg.Model)
    }


def _describe(owner: type[BaseModel], schema: JsonSchema) -> None:
    for name, field in owner.model_fields.items():
        option = schema["properties"][name]
        if field.description:
            option.setdefault("description", field.description)
        for variant in option.get("anyOf", ()):
            if "$ref" in variant:
                _check_inside(option, variant)


def _check_inside(option: JsonSchema, section: JsonSchema) -> None:
    """Let any mapping pass as such, then check what is in it: a wrong key is reported by itself."""
    option["anyOf"] = [
        {"type": ["string", "object"]} if variant == {"type": "string"} else variant
        for variant in option["anyOf"]
    ]
    option["allOf"] = [{"if": {"type": "object"}, "then": dict(section)}]
