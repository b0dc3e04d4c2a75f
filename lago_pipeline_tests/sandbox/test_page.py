"""The events page."""

import base64
import hashlib
import re

import pytest
import requests

from lago_pipeline_tests.sandbox.client import Client, usage

NASTY = "<script>alert('x')</script>&\"'"


def page(lago: Client, **query: object) -> requests.Response:
    """GET the page, as a browser without a key."""
    answer = requests.get(f"{lago.sandbox.url}/page/events", params=query, timeout=10)  # type: ignore[arg-type]
    assert answer.status_code == 200
    return answer


def ids(html: str) -> list[str]:
    """The transaction ids of the page's rows."""
    return re.findall(r'<tr class="event"[^>]*>(?:<td>.*?</td>){3}<td>(.*?)</td>', html)


def test_the_root_leads_to_the_page(lago: Client) -> None:
    """A person opens the address and sees events."""
    answer = requests.get(lago.sandbox.url, timeout=10)
    assert answer.url.endswith("/page/events")
    assert "No events here yet" in answer.text


def test_events_are_listed_newest_first_with_a_total(lago: Client) -> None:
    """As Lago's own list does."""
    lago.batch(usage("old", timestamp=1), usage("new", timestamp=2))
    html = page(lago).text
    assert ids(html) == ["new", "old"]
    assert '<strong id="total">2</strong>' in html


def test_everything_is_escaped(lago: Client) -> None:
    """Nothing that an event or a link says becomes markup."""
    lago.event(**usage(NASTY, code=NASTY, external_subscription_id=NASTY, properties={NASTY: NASTY}))
    names = ("code", "external_subscription_id", "transaction_id", "from", "to", "page")
    for html in (page(lago).text, page(lago, **dict.fromkeys(names, NASTY)).text):
        assert "<script>alert" not in html
        assert "alert(&#x27;x&#x27;)" in html
        assert NASTY not in html


def test_no_script_but_the_pages_own_may_run(lago: Client) -> None:
    """The browser is told so, and nothing is loaded from elsewhere."""
    answer = page(lago)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert content is not None
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", answer.text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"code": "x"}, ["a"]),
        ({"external_subscription_id": "two"}, ["b"]),
        ({"transaction_id": " c "}, ["c"]),
        ({"from": "2026-01-02"}, ["c", "b"]),
        ({"to": "2026-01-01"}, ["a"]),
        ({"from": "2026-01-02", "to": "2026-01-02"}, ["b"]),
        ({"from": "nonsense", "to": "9999-12-31"}, ["c", "b", "a"]),
    ],
)
def test_the_list_is_filtered(lago: Client, query: dict[str, str], found: list[str]) -> None:
    """Days are whole; what is no date is no filter."""
    day = 1767225600
    lago.batch(
        usage("a", code="x", timestamp=day + 86_399.999),
        usage("b", external_subscription_id="two", timestamp=day + 86_400),
        usage("c", timestamp=day + 172_800),
    )
    assert ids(page(lago, **query).text) == found


def test_long_lists_have_pages(lago: Client) -> None:
    """Links keep the filters."""
    lago.batch(*[usage(f"{number:03}", timestamp=number) for number in range(60)])
    first = page(lago, code="storage").text
    assert (len(ids(first)), "page 1 of 2" in first) == (50, True)
    assert '<a href="?code=storage&amp;page=2">older</a>' in first
    second = page(lago, code="storage", page=2).text
    assert ids(second)[-1] == "000"
    assert '<a href="?code=storage&amp;page=1">newer</a>' in second


def test_a_row_opens_into_the_event(clickhouse: Client) -> None:
    """The JSON is there, for events that lack everything too."""
    clickhouse.event(properties={"a": [1, {"b": "ü"}]}, timestamp=1)
    assert "&quot;b&quot;: &quot;ü&quot;" in page(clickhouse).text
    assert '<span class="none">none</span>' in page(clickhouse).text
