"""A real Chromium, driven by Playwright. The browser is the distribution's: Playwright's own download is not needed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

# The first two let it run as root without a GPU; the others keep it from calling home.
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What a busy machine needs; by default a page is given five seconds to show what is expected of it.
_PATIENCE_MS = 30_000
SCREENSHOTS_VARIABLE = "KAFKA_INGEST_SCREENSHOTS"


@contextmanager
def open_page(address: str) -> Iterator[Page]:
    """A page whose relative addresses are below `address`."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "no chromium on PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
        page = browser.new_page(base_url=address, viewport={"width": 1200, "height": 720})
        page.set_default_timeout(_PATIENCE_MS)
        expect.set_options(timeout=_PATIENCE_MS)
        yield page
        browser.close()


def screenshot(page: Page, name: str) -> None:
    """Keep a picture for the documentation, where the environment names the folder for it."""
    folder = os.environ.get(SCREENSHOTS_VARIABLE)
    if folder:
        page.wait_for_timeout(1_000)
        page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=60)
