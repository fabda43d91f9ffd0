"""`python -m kafka_ingest_tests.soak --minutes 60 --seed N`: a stream that never stops, and faults at random.

Real Kafka and MySQL behind proxies, a real `dagster dev`. At the end the tables equal what the tests' own computation says,
the ledger tiles, the group's offsets are the ends, and Dagster's processes hold no more than before. Prints one JSON line a
fault, with the seconds until rows flowed again, and a summary; exit code 1 where something does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import psutil

from kafka_ingest_tests.e2e import child
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.leaks import Resources
from kafka_ingest_tests.soak.breakages import EVERYTHING, GENTLE
from kafka_ingest_tests.soak.world import PROCESSES, TOPIC, World, world

# A run that was under way at the fault retries for half a minute, then the sensor backs off up to 5 minutes in the end.
RECOVERY_SECONDS = 420.0
CALM_SECONDS = (8.0, 20.0)
WARM_UP_SECONDS = 45.0
MEGABYTE = 1024 * 1024


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--faults", default="", help="only those with this regular expression in their name")
    parser.add_argument("--rate", type=int, default=100, help="messages a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak") as folder, world(Path(folder)) as found:
        return _soak(found, options.minutes * 60, options.seed, options.rate, options.faults)


def _soak(world: World, seconds: float, seed: int, rate: int, faults: str) -> int:
    random_ = random.Random(seed)
    begun = time.monotonic()
    recoveries: dict[str, list[float]] = {}
    # The last half leaves Dagster's processes alive: what they hold is compared over it.
    held: dict[str, tuple[Resources, int]] = {}
    with world.production(rate, seed) as production:
        _wait_for_rows(world, 0, 120)
        time.sleep(min(WARM_UP_SECONDS, seconds / 10))
        while time.monotonic() - begun < seconds:
            is_late = time.monotonic() - begun > seconds / 2
            if is_late and not held:
                held = _held(world)
            chosen = GENTLE if is_late else EVERYTHING
            name = random_.choice(sorted(n for n in chosen if re.search(faults, n)) or sorted(chosen))
            at = time.monotonic() - begun
            chosen[name](world, random_)
            production.check()
            took = _wait_for_rows(world, world.loaded, RECOVERY_SECONDS)
            recoveries.setdefault(name, []).append(took)
            _say({"at_seconds": round(at), "fault": name, "rows_again_after_seconds": round(took, 1)})
            time.sleep(random_.uniform(*CALM_SECONDS))
        production.stop()
        production.check()
    caught_up = _wait_for_rows(world, world.truth.total - 1, RECOVERY_SECONDS)
    world.dagster.wait_for(
        lambda: all(r["status"] in ("SUCCESS", "FAILURE") for r in world.dagster.runs()), 300, "runs"
    )
    statuses = [r["status"] for r in world.dagster.runs()]
    _commit_what_is_left(world)
    assert_exactly_once(world.url, world.kafka.broker.bootstrap_servers, TOPIC, world.truth)
    grown = _grown(world, held)
    _say(
        {
            "seed": seed,
            "seconds": round(time.monotonic() - begun),
            "messages": world.truth.total,
            "rows": len(world.truth.information),
            "dead_letters": len(world.truth.dead_letters),
            "runs": len(statuses),
            "runs_failed": statuses.count("FAILURE"),
            "caught_up_after_seconds": round(caught_up, 1),
            "faults": {n: _summary(s) for n, s in sorted(recoveries.items())},
            "trials": sum(map(len, recoveries.values())),
            "grown": grown,
        }
    )
    return 0


def _wait_for_rows(world: World, than: int, seconds: float) -> float:
    """Seconds until the ledger holds more offsets than this."""
    begun = time.monotonic()
    while world.loaded <= than:
        took = time.monotonic() - begun
        assert took < seconds, f"no row for {took:.0f} s: {world.dagster.tail()}"
        time.sleep(0.25)
    return time.monotonic() - begun


def _commit_what_is_left(world: World) -> None:
    """A last run that nothing disturbs repairs the group's offsets where the one before was killed between ledger and group."""
    process = child.start(world.dagster._environ)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err


def _held(world: World) -> dict[str, tuple[Resources, int]]:
    found = {}
    for what in PROCESSES:
        process = world.process(what)
        if process is not None:
            found[what] = (Resources.now(process.pid), process.memory_info().rss)
    return found


def _grown(world: World, before: Mapping[str, tuple[Resources, int]]) -> dict[str, dict[str, int]]:
    """What Dagster's processes hold more than at half time. AssertionError where that is a leak."""
    grown = {}
    for what, (resources, memory) in before.items():
        assert psutil.pid_exists(resources.pid), f"{what} ended by itself: {world.dagster.tail()}"
        now = Resources.now(resources.pid)
        more = psutil.Process(resources.pid).memory_info().rss - memory
        grown[what] = {
            "descriptors": now.descriptors - resources.descriptors,
            "threads": now.threads - resources.threads,
            "memory_megabytes": round(more / MEGABYTE),
        }
        now.assert_no_more_than(resources, slack=24)
        assert more < 150 * MEGABYTE, grown
    return grown


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "trials": len(seconds),
        "median_seconds": round(median(seconds), 1),
        "longest_seconds": round(max(seconds), 1),
    }


def _say(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
