"""All benchmarks, one after the other, and what they ran on.

    python -m benchmarks [--full] [--out FOLDER]    (3 minutes; full: about three hours)

Each is a process of its own and prints its table; its figures are FOLDER/<name>.json, those of the machine FOLDER/machine.json.
Pictures need matplotlib (`pip install -e '.[bench]'`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.command import write_json

PACKAGES = ("dagster", "confluent-kafka", "pandas", "pyarrow", "msgspec", "SQLAlchemy", "PyMySQL")
QUICK = (
    ("dates", "--values", "100000"),
    ("stages", "--messages", "100000", "--rounds", "3"),
    ("throughput", "--messages", "200000", "--rounds", "2", "--only", "4 partitions, 2 loaders"),
)
FULL = (
    ("dates",),
    ("stages",),
    ("throughput",),
    ("peers", "--messages", "200000", "--cap", "200", "--freshness", "60"),
    ("memory",),
    ("wide",),
    ("freshness",),
    ("scale",),
    ("slots",),
    ("groups",),
    ("shards",),
    ("start",),
    ("trickle",),
)
PICTURED = ("throughput", "freshness")


def machine() -> dict[str, object]:
    """Processor, memory, versions, revision."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "revision": revision.stdout.strip(),
        "load_average": os.getloadavg(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = machine()
    write_json(options.out / "machine.json", found)
    print(json.dumps(found, indent=1), flush=True)
    for name, *arguments in FULL if options.full else QUICK:
        print(f"\n## {name}\n", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--json", str(options.out / f"{name}.json")]
        if name in PICTURED and find_spec("matplotlib"):
            command += ["--plot", str(options.out / f"{name}.png")]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
