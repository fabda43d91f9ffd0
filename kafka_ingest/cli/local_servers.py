"""How to reach the servers of a demo, or of `kafka-ingest local up`: what is printed about them, and commands that find them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import MutableMapping
from pathlib import Path

from kafka_ingest.cli.local_options import LOCAL_ROOT
from kafka_ingest.local.stack import SERVERS_FILE, LocalStack
from kafka_ingest.settings import Settings


def use_local_servers(folder: Path, environ: MutableMapping[str, str]) -> str | None:
    """Take over Kafka and the database that run below the folder, where the environment names neither.

    Returns what was taken, for people: they have to see which database a command means.
    """
    if {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_INGEST_DATABASE_URL"} & environ.keys():
        return None
    stack = LocalStack.status(folder / LOCAL_ROOT)
    if stack is None:
        return None
    environ.update(stack.settings())
    return f"Using what runs below {LOCAL_ROOT}: {', '.join(_shown(stack))}"


def how_to_reach(stack: LocalStack, root: Path) -> list[str]:
    """What a person may type in another shell, line by line. Passwords are in files below `root`, and not in these lines."""
    lines = ["In another shell, in this folder:"]
    if root.resolve() == LOCAL_ROOT.resolve():
        lines.append(f"  {_program()} status  # finds these servers by itself")
    lines.append(f"  . {shlex.quote(os.path.relpath(root / SERVERS_FILE))}  # exports, with the password:")
    lines += [f"      {line}" for line in _shown(stack)]
    if stack.client is not None:
        client = next(word for word in shlex.split(stack.client) if "=" not in word)
        lines.append(
            f"  {stack.client}" + ("" if shutil.which(client) else f"  # there is no {client} on this machine yet")
        )
    return lines


def _shown(stack: LocalStack) -> list[str]:
    """The settings without the password."""
    settings = Settings.from_environment(stack.settings())
    return [
        f"KAFKA_BOOTSTRAP_SERVERS={settings.bootstrap_servers}",
        f"KAFKA_INGEST_DATABASE_URL={settings.shown_database_url}",
    ]


def _program() -> str:
    """This program, as it was typed: `make demo` runs it out of an environment that other shells need not be in."""
    called = sys.argv[0]
    return "kafka-ingest" if shutil.which("kafka-ingest") == called or Path(called).name != "kafka-ingest" else called
