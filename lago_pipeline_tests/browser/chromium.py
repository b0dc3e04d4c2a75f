"""Debian's Chromium under Playwright: `apt-get install chromium`; nothing else is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

_MISSING = "Chromium is not installed, and these tests need it: apt-get update && apt-get install -y chromium"


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """A browser without a window, until the block ends."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        raise RuntimeError(_MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        try:
            yield browser
        finally:
            browser.close()
