"""The JSON schema of the component, and the file that the scaffolder writes."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

import jsonschema
import pytest
import yaml

from lago_pipeline.components.scaffolding import legal_name, scaffolded
from lago_pipeline.components.schema import sections
from lago_pipeline.components.usage_sync import UsageSync

SCHEMA: dict[str, Any] = UsageSync.model().model_json_schema()
TEXT = scaffolded("calls", "lago_pipeline.UsageSync", date(2026, 5, 17))


def _options() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every option of a sync by its path, with its schema."""
    for name, schema in SCHEMA["properties"].items():
        yield name, schema
    for section, kind in sections(UsageSync).items():
        for name, schema in SCHEMA["$defs"][f"{kind.__name__}Model"]["properties"].items():
            yield f"{section}.{name}", schema


OPTIONS = list(_options())


def uncommented() -> dict[str, Any]:
    """The scaffolded file with every optional line in force."""
    text = re.sub(r"^( *)# (?=\s*[a-z_]+:)", r"\1", TEXT.split("type:", maxsplit=1)[1], flags=re.MULTILINE)
    document: dict[str, Any] = yaml.safe_load(f"type:{text}")
    return document


@pytest.mark.parametrize(("path", "schema"), OPTIONS, ids=[path for path, _ in OPTIONS])
def test_every_option_is_described(path: str, schema: dict[str, Any]) -> None:
    """Editors and `dg` can tell what each option is for, nested ones too."""
    assert len(schema.get("description", "")) > 10, path


@pytest.mark.parametrize(("path", "schema"), OPTIONS, ids=[path for path, _ in OPTIONS])
def test_every_option_is_in_the_scaffold_with_its_default(path: str, schema: dict[str, Any]) -> None:
    """A new option must be added to components/scaffolding.py: there people look for what they can set."""
    attributes: Any = uncommented()["attributes"]
    for part in path.split("."):
        assert part in attributes, f"{path} is missing in components/scaffolding.py"
        attributes = attributes[part]
    default = schema.get("default")
    if default is not None and not isinstance(attributes, dict) and path != "partitions.per_run":
        assert attributes == default


def test_the_scaffold_is_a_sync_as_it_is() -> None:
    """The file becomes a sync with the defaults, from the first of the month on."""
    document = yaml.load(TEXT, yaml.BaseLoader)  # every value as text, as Dagster reads dates
    sync = UsageSync.from_attributes_dict(attributes=yaml.safe_load(TEXT)["attributes"])
    assert (document["type"], sync.name, sync.source.table) == ("lago_pipeline.UsageSync", "calls", "calls")
    assert sync.partitions.start == "2026-05-01"
    plain = UsageSync.from_attributes_dict(
        attributes={name: document["attributes"][name] for name in ("name", "source", "event", "partitions")}
    )
    assert sync == plain


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("calls", "calls"),
        ("api-calls", "api_calls"),
        ("7 days", "usage_7_days"),
        ("é", "usage"),
        ("_x_", "x"),
    ],
)
def test_a_scaffolded_name_is_legal(given: str, name: str) -> None:
    """Any folder name becomes a name that a sync may have."""
    assert legal_name(given) == name
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"delivery": {"batch": 1}}, ["delivery"], "'batch' was unexpected"),
        ({"delivery": {"batch_size": 1000}}, ["delivery", "batch_size"], "1000"),
        ({"delivery": 3}, ["delivery"], "3"),
        ({"nope": 1}, [], "'nope' was unexpected"),
    ],
)
def test_an_error_in_a_section_is_reported_where_it_is(
    change: dict[str, Any], path: list[str], said: str
) -> None:
    """The schema points at the option rather than at its section."""
    attributes = {**yaml.safe_load(TEXT)["attributes"], "partitions": {"start": "2026-05-01"}, **change}
    (error,) = jsonschema.Draft202012Validator(SCHEMA).iter_errors(attributes)
    assert list(error.absolute_path) == path
    assert said in error.message


@pytest.mark.parametrize("section", ["delivery", "retention", "source", "partitions"])
def test_a_section_may_be_a_text_for_jinja(section: str) -> None:
    """A template variable may stand for a whole section."""
    attributes = {**yaml.safe_load(TEXT)["attributes"], "partitions": {"start": "2026-05-01"}}
    changed = {**attributes, section: "{{ shared }}"}
    assert jsonschema.Draft202012Validator(SCHEMA).is_valid(changed)
