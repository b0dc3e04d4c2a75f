"""A browser for a test, which ends with it: its event loop would hide those of other tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from lago_pipeline_tests.browser.chromium import running_chromium

_DEADLINE_MS = 60_000


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """The browser."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page without history, whose waits all end at a deadline."""
    expect.set_options(timeout=_DEADLINE_MS)
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
    context.set_default_timeout(_DEADLINE_MS)
    yield context.new_page()
    context.close()
