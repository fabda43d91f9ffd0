"""A real Chromium, driven by Playwright. The browser is the distribution's: Playwright's own download is not needed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

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


@dataclass
class Hand:
    """Clicks for a person, and counts. What is typed, Enter included, is not counted."""

    clicks: int = 0

    def click(self, target: Locator) -> None:
        """One click, once the target is there and can be clicked on."""
        expect(target).to_be_enabled()
        target.click()
        self.clicks += 1


@contextmanager
def at_most(clicks: int, aim: str) -> Iterator[Hand]:
    """A way to an aim that takes so many clicks; it is said how many it was."""
    hand = Hand()
    yield hand
    sys.stderr.write(f"{aim}: {hand.clicks} clicks (at most {clicks})\n")
    assert 0 < hand.clicks <= clicks, f"{aim} took {hand.clicks} clicks, over {clicks}"


def screenshot(page: Page, name: str) -> None:
    """Keep a picture for the documentation, where the environment names the folder for it."""
    folder = os.environ.get(SCREENSHOTS_VARIABLE)
    if folder:
        page.wait_for_timeout(1_000)
        page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=60)
