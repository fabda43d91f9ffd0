"""What importing a module costs, by package, as `python -X importtime` tells it."""

import re
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| ( *)(\S+)")


@dataclass(frozen=True)
class Imports:
    """Seconds of one process."""

    total: float
    """The module with all below it."""
    own: Mapping[str, float]
    """By top-level package, what its own modules took: these add up."""
    with_others: Mapping[str, float]
    """By top-level package, with what it was the first to import from other packages."""


def import_seconds(module: str, environ: Mapping[str, str]) -> Imports:
    """In a new process with this environment."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        env=dict(environ),
        capture_output=True,
        text=True,
        check=True,
    )
    # A line comes after those of what its module imported, which are indented deeper.
    lines = [match.groups() for match in map(_LINE.fullmatch, done.stderr.splitlines()) if match]
    own: dict[str, float] = defaultdict(float)
    with_others: dict[str, float] = defaultdict(float)
    parents: list[tuple[int, str]] = []
    total = 0.0
    for self_us, cumulative_us, indent, name in reversed(lines):
        depth, package = len(indent) // 2, name.partition(".")[0]
        while parents and parents[-1][0] >= depth:
            parents.pop()
        own[package] += int(self_us) / 1e6
        # Its outermost modules only: the others are in their figure already.
        if all(package != each for _, each in parents):
            with_others[package] += int(cumulative_us) / 1e6
        if name == module:
            total = sum(int(c) for _, c, i, n in lines if not i and n.partition(".")[0] == package) / 1e6
        parents.append((depth, package))
    return Imports(total, own, with_others)


def median_imports(module: str, environ: Mapping[str, str], times: int) -> Imports:
    """Medians of so many processes, after one that wrote the compiled files."""
    import_seconds(module, environ)
    return _median([import_seconds(module, environ) for _ in range(times)])


def _median(found: Sequence[Imports]) -> Imports:
    def by_package(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
        medians = {name: statistics.median(one.get(name, 0.0) for one in each) for name in each[0]}
        return dict(sorted(medians.items(), key=lambda item: -item[1]))

    return Imports(
        statistics.median(one.total for one in found),
        by_package([one.own for one in found]),
        by_package([one.with_others for one in found]),
    )
