"""The workers of a Kafka Connect cluster as children of this process, and one connector given to it over its REST API.

    connect_cluster.py FOLDER COMMAND…

COMMAND is run once for each FOLDER/worker-*.properties, FOLDER/connector.json is the connector. Ends when a worker ends.
"""

from __future__ import annotations

import ctypes
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

POLL_SECONDS = 0.2
_LIBC = ctypes.CDLL(None)


def die_with_parent() -> None:
    _LIBC.prctl(1, signal.SIGKILL)


def is_up(listener: str) -> bool:
    """Whether the worker has joined: before, it does not list connectors."""
    try:
        with urllib.request.urlopen(f"{listener}/connectors", timeout=10):  # noqa: S310  our own worker
            return True
    except OSError:
        return False


def give(listener: str, connector: dict[str, str]) -> None:
    """Makes the connector; again while the workers agree on who leads them (409)."""
    request = urllib.request.Request(  # noqa: S310  our own worker
        f"{listener}/connectors/{connector['name']}/config",
        json.dumps(connector).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60):  # noqa: S310
                return
        except urllib.error.HTTPError as error:
            if error.code != 409:
                raise RuntimeError(error.read().decode(errors="replace")) from error
        time.sleep(POLL_SECONDS)


def main() -> None:
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    files = sorted(folder.glob("worker-*.properties"))
    workers = [subprocess.Popen([*command, str(file)], preexec_fn=die_with_parent) for file in files]
    waiting = [re.search("^listeners=(.*)$", file.read_text(), re.MULTILINE)[1] for file in files]
    first = waiting[0]
    while waiting and all(worker.poll() is None for worker in workers):
        waiting = [listener for listener in waiting if not is_up(listener)]
        time.sleep(POLL_SECONDS)
    if not waiting:
        give(first, json.loads((folder / "connector.json").read_text()))
    while all(worker.poll() is None for worker in workers):
        time.sleep(1)
    sys.exit("a worker has ended")


if __name__ == "__main__":
    main()
