"""What Dagster's own pages ask for: recorded from a real browser, sent again to be timed."""

import json
import statistics
import time
import urllib.request
from dataclasses import dataclass
from urllib.parse import urlsplit

from playwright.sync_api import Request

from kafka_ingest_tests.ui.browser import open_page

# A page goes on asking for a moment after it is drawn: what follows from the first answers.
SETTLE_MILLISECONDS = 6_000


@dataclass(frozen=True)
class PageTimes:
    """Milliseconds, medians."""

    together: float
    """All requests of the page, one after the other."""
    slowest: float
    """The slowest one."""
    name: str
    """Which one that is, by the name of its operation."""
    requests: int
    kilobytes: float
    """Of the answers together."""


def record(address: str, paths: dict[str, str]) -> dict[str, list[bytes]]:
    """The GraphQL requests, each once, that a browser sends when it opens these pages."""
    found: dict[str, list[bytes]] = {}
    with open_page(address) as page:
        for name, path in paths.items():
            bodies: dict[bytes, None] = {}

            def keep(request: Request, bodies: dict[bytes, None] = bodies) -> None:
                if urlsplit(request.url).path == "/graphql" and request.post_data_buffer:
                    bodies[request.post_data_buffer] = None

            page.on("request", keep)
            page.goto(path)
            page.wait_for_timeout(SETTLE_MILLISECONDS)
            page.remove_listener("request", keep)
            found[name] = list(bodies)
    return found


def replay(address: str, bodies: list[bytes], repeats: int) -> PageTimes:
    """Send one page's requests again, `repeats` times after a first time that does not count."""
    times: dict[bytes, list[float]] = {body: [] for body in bodies}
    size = 0
    for turn in range(repeats + 1):
        size = 0
        for body in bodies:
            started = time.perf_counter()
            size += len(_send(address, body))
            if turn:
                times[body].append((time.perf_counter() - started) * 1000)
    medians = {body: statistics.median(each) for body, each in times.items()}
    slowest = max(medians, key=lambda body: medians[body])
    together = statistics.median(sum(turn) for turn in zip(*times.values(), strict=True))
    return PageTimes(together, medians[slowest], json.loads(slowest)["operationName"], len(bodies), size / 1e3)


def _send(address: str, body: bytes) -> bytes:
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as answer:  # noqa: S310
        text: bytes = answer.read()
    found = json.loads(text)
    assert "errors" not in found, found["errors"]
    return text
