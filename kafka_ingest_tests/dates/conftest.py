"""What the tests of dates share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

MACHINE_ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"]


@pytest.fixture(params=MACHINE_ZONES)
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's own zone, which must never matter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()
