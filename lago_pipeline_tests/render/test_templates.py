"""What a template may say, and how it is told what is wrong with it."""

import datetime as dt
import math

import pytest

from lago_pipeline.errors import TemplateError
from lago_pipeline.render.template import event_template
from lago_pipeline_tests.render.rendering import body, mapping, properties, rendered, usage_sync


def error(event: str | dict[str, object]) -> str:
    """Declare a template that must be refused, and give the words."""
    with pytest.raises(TemplateError) as raised:
        event_template(usage_sync(event))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_mapping_becomes_an_event() -> None:
    """Every field of the mapping arrives at Lago, in Lago's own types."""
    event = rendered(
        mapping(
            external_subscription_id="{{ row.subscription }}",
            timestamp="{{ row.used_at }}",
            transaction_id="t-{{ row.id }}",
            precise_total_amount_cents="{{ row.cents }}",
            properties={"seats": "{{ row.seats }}", "plan": "{{ row.plan | upcase }}"},
        ),
        subscription="sub_1",
        used_at="2026-01-05T01:02:03.004Z",
        cents="12.50",
        seats=3,
        plan="pro",
    )
    assert body(event) == {
        "transaction_id": "t-1",
        "external_subscription_id": "sub_1",
        "code": "seats",
        "timestamp": "1767574923.004",
        "precise_total_amount_cents": "12.50",
        "properties": {"seats": "3", "plan": "PRO"},
    }
    assert (event.code, event.external_subscription_id) == ("seats", "sub_1")


@pytest.mark.parametrize("field", ["code", "external_subscription_id"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_required_fields(field: str, value: object) -> None:
    """A template without code or subscription is refused before any row is read."""
    assert f"event.{field} is missing" in error(mapping(**{field: value}))
    absent = mapping()
    del absent[field]
    assert f"event.{field} is missing" in error(absent)


def test_required_fields_of_pasted_text() -> None:
    """An empty text in pasted JSON is missing too."""
    assert "event.code is missing" in error('{"code": "", "external_subscription_id": "s"}')


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("external_customer_id", "write external_subscription_id"),
        ("customer_id", "write external_subscription_id"),
        ("subscription_id", "write external_subscription_id"),
        ("lago_subscription_id", "write external_subscription_id"),
        ("metadata", "write properties"),
        ("external_subscripton_id", "did you mean external_subscription_id?"),
        ("colour", "anything else belongs under properties"),
    ],
)
def test_fields_that_lago_drops(field: str, words: str) -> None:
    """A field that Lago would drop in silence is an error that says what to write instead."""
    told = error(mapping(**{field: "{{ row.x }}"}))
    assert f"event.{field}:" in told
    assert words in told


@pytest.mark.parametrize(
    ("liquid", "words"),
    [
        ("{{ row.x | dowcase }}", "unknown filter dowcase"),
        ("{{ row.x | dowcase }}", "did you mean downcase? Allowed are abs, append,"),
        ("{{ row.x if row.y else row.z | nix }}", "unknown filter nix"),
        ("{{ row.x", "expected '}}'"),
        ("{% if row.x %}a", "event.properties.p: "),
        ("{% nope %}", "unexpected tag 'nope'"),
        ("{% include 'x' %}", "unexpected tag 'include'"),
        ("{% render 'x' %}", "unexpected tag 'render'"),
        ("{{ subscription }}", "unknown variable subscription: write row.subscription"),
        ("{{ now }}", "unknown variable now"),
        ("{% if today %}a{% endif %}", "unknown variable today"),
        ("{{ row }}", "write row.<column>"),
        ("{{ row[0] }}", "write row.<column>"),
        ("{{ row[row.x] }}", "write row.<column>"),
        ("{% assign r = row %}{{ r.x }}", "write row.<column>"),
        ("{{ row.first name }}", "expected end of expression"),
        ("{{ }}", "expected a primitive expression"),
    ],
)
def test_wrong_liquid(liquid: str, words: str) -> None:
    """Wrong Liquid is an error that names the field and what is wrong in it."""
    told = error(mapping(properties={"p": liquid}))
    assert told.startswith("event.properties.p: ")
    assert words in told


@pytest.mark.parametrize(
    ("liquid", "place", "line", "marks"),
    [
        (
            "{{ row.x | dowcase }}",
            "line 1, column 12",
            "1 | {{ row.x | dowcase }}",
            "    |            ^^^^^^^",
        ),
        ("a\n {{ subscription }}", "line 2, column 5", "2 |  {{ subscription }}", "    |     ^^^^^^^^^^^^"),
        ("{{ row.first name }}", "line 1, column 14", "1 | {{ row.first name }}", "    |              ^^^^"),
        ("{% nope %}", "line 1, column 4", "1 | {% nope %}", "    |    ^^^^"),
        (
            "{{ row['a b'][row] }}",
            "line 1, column 15",
            "1 | {{ row['a b'][row] }}",
            "    |               ^^^",
        ),
    ],
)
def test_the_wrong_piece_is_underlined(liquid: str, place: str, line: str, marks: str) -> None:
    """The line of the error tells line and column, its note shows the piece with its field."""
    with pytest.raises(TemplateError) as raised:
        event_template(usage_sync(mapping(properties={"p": liquid})))
    assert place in str(raised.value)
    [note] = raised.value.__notes__
    field, shown, underlined = note.splitlines()
    assert (field.strip(), shown) == ("event.properties.p", line)
    assert underlined.startswith(marks[2:] + " ")


@pytest.mark.parametrize("nested", [{"a": 1}, ["a"], {}])
def test_nested_properties_are_refused(nested: object) -> None:
    """Lago knows flat properties only."""
    assert "event.properties.p must be one value" in error(mapping(properties={"p": nested}))
    assert "event.code must be one value" in error(mapping(code=nested))


@pytest.mark.parametrize("whole", ["{{ row.x }}", ["a"], 1])
def test_properties_must_be_a_mapping(whole: object) -> None:
    """Lago drops properties that are no object, so they are refused here."""
    assert "event.properties must be a mapping" in error(mapping(properties=whole))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (False, "write it in quotes"),  # YAML reads the bare names `no` and `off` so
        (2026, "write it in quotes"),
        ("{{ row.x }}", "cannot hold Liquid"),
        ("a\x00b", "NUL"),
        ("\ud800", "half character"),
    ],
)
def test_names_of_properties(name: object, words: str) -> None:
    """A property's name is plain text that Lago can store: the rows cannot change it."""
    assert words in error(mapping(properties={name: "1"}))


@pytest.mark.parametrize("prefix", ["a\x00b", "\ud800"])
def test_a_prefix_that_no_id_can_have(prefix: str) -> None:
    """Every row would be refused for the beginning of its id: the sync is, once."""
    with pytest.raises(TemplateError, match="transaction_id_prefix holds a NUL or half character"):
        event_template(usage_sync(mapping(), prefix=prefix))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (10**20, "100000000000000000000"),
        (1e-7, "0.0000001"),
        (True, "true"),
        (dt.date(2026, 1, 5), "2026-01-05"),
        (dt.datetime(2026, 1, 5, 1, tzinfo=dt.UTC), "2026-01-05T01:00:00Z"),
        ("", ""),
        ("}} plain {", "}} plain {"),
    ],
)
def test_yaml_scalars(value: object, text: str) -> None:
    """What YAML reads as a number, a boolean or a date leaves as its exact text."""
    assert properties(value) == {"p": text}


def test_a_null_in_the_template_leaves_the_property_out() -> None:
    """A property without a value is not sent."""
    assert properties(None) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, b"x"])
def test_yaml_scalars_that_no_row_could_bill(value: object) -> None:
    """A constant that would refuse every row is refused with the template."""
    assert "event.properties.p: " in error(mapping(properties={"p": value}))


@pytest.mark.parametrize(("code", "known"), [("seats", "seats"), (True, "true"), ("{{ row.code }}", None)])
def test_literal_code(code: object, known: str | None) -> None:
    """The metric's code is known beforehand exactly when it is no Liquid, and as it is sent."""
    template = event_template(usage_sync(mapping(code=code)))
    assert template.literal_code == known
    assert body(rendered(mapping(code=code), code="c"))["code"] == (known or "c")


def test_columns_of_a_template() -> None:
    """Every column that any value reads is known, wherever it stands."""
    template = event_template(
        usage_sync(
            mapping(
                code="{{ row.a | append: row.b }}",
                timestamp="{{ row['Column C'] }}",
                properties={
                    "p": "{% if row.d > 1 %}{{ row.e.key }}{% endif %}",
                    "q": "{{ row.f if row.g else row.h | default: row.i }}",
                },
            )
        )
    )
    assert set(template.columns) == {"a", "b", "Column C", "d", "e", "f", "g", "h", "i"}


@pytest.mark.parametrize(
    ("liquid", "columns", "hint"),
    [
        ("{{ row.regoin }}", ["region", "id"], "did you mean 'region'?"),
        ("{{ row.region }}", ["REGION", "ID"], "did you mean 'REGION'?"),
        ("{{ row.REGION }}", ["region", "id"], "did you mean 'region'?"),
        ("{{ row.size }}", ["id"], "no column 'size'"),
        ("{{ row.x }}", ["id", "subscription"], "(its columns: id, subscription)"),
    ],
)
def test_misspelt_columns(liquid: str, columns: list[str], hint: str) -> None:
    """A column that the source lacks is an error with a hint and the list of what there is."""
    template = event_template(usage_sync(mapping(properties={"p": liquid})))
    with pytest.raises(TemplateError) as raised:
        template.check_columns(columns)
    assert str(raised.value).startswith("event.properties.p: the source has no column ")
    assert hint in str(raised.value)
    assert f"^^^^^{'^' * (len(liquid) - 11)} the source" in raised.value.__notes__[0]


def test_columns_the_sync_itself_needs() -> None:
    """Primary key and time column are checked alike, and what is there raises nothing."""
    template = event_template(usage_sync(mapping(properties={"p": "{{ row.x }}"})))
    template.check_columns(["x", "id"], needed=["id"])
    with pytest.raises(TemplateError, match="no column 'at'"):
        template.check_columns(["x", "id"], needed=["id", "at"])
