"""`python -m kafka_ingest_tests.fuzz.guided --inputs N [--minutes M] [--seed S]`: atheris (libFuzzer) chooses the inputs.

The same stages and the same invariants as `kafka_ingest_tests.fuzz`, but what reaches a new branch of decode, routing, dates
or the text of LOAD DATA is kept and changed further. Exit code 77 and a file `crash-…` where something breaks; give that
file as the last argument to run it alone. Needs `pip install -e '.[fuzz]'` (CPython 3.11 or newer).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

SAY_SECONDS = 30.0
# Tracing keeps a little memory of every call (the stages themselves keep none): then the process begins anew, with its corpus.
MOST_BYTES = 2 << 30
# A call takes its time whatever it holds (a table a model, pandas), so it takes many messages: lines.
MAX_BYTES = 131_072
_SEEDS, _LINES = 400, 256
_LINE, _PART = b"\n", b"\t"

Taken = list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]]


def take_apart(data: bytes) -> tuple[int, Taken]:
    """Which stream (the first byte), and a message a line: value, key and the header `kind`, with tabs between them.

    What a line lacks is null. Total: any bytes are messages.
    """
    messages: Taken = []
    for line in data[1:].split(_LINE):
        value, *more = line.split(_PART, 2)
        key = more[0] if more else None
        headers: list[tuple[str, bytes | None]] = [("kind", part) for part in more[1:]]
        messages.append((value or None, key, headers))
    return data[0] if data else 0, messages


def put_together(which: int, messages: Iterable[Sequence[bytes]]) -> bytes:
    """The inverse, for the first inputs; a line's end or a tab within a part becomes a space."""
    lines = (_PART.join(part.replace(_LINE, b" ").replace(_PART, b" ") for part in message) for message in messages)
    return bytes([which]) + _LINE.join(lines)


def dates_of(messages: Taken) -> list[object]:
    """The values as dates: what JSON says, else the text."""
    found: list[object] = []
    for value, _, _ in messages:
        try:
            each = json.loads(value or b"null")
        except (ValueError, RecursionError):
            each = (value or b"").decode("utf-8", "surrogateescape")
        found.append(each)
    return found


def main() -> None:
    import atheris

    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this long; 0: no limit")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--corpus", type=Path, help="where inputs that reach something new are kept between runs")
    parser.add_argument("--most-bytes", type=int, default=MOST_BYTES, help="of memory, before the process begins anew")
    parser.add_argument("crash", nargs="?", type=Path, help="a file of an earlier find, to be run alone")
    options = parser.parse_args()

    # What is imported here for the first time counts its branches.
    with atheris.instrument_imports(include=["kafka_ingest.pipelines", "kafka_ingest.sinks"]):
        from kafka_ingest_tests.fuzz.mutate import Mutator
        from kafka_ingest_tests.fuzz.stages import RULES, STREAMS, Messages, check_these_dates

    stages = Messages()
    begun = said = time.monotonic()
    done = calls = 0

    def say() -> None:
        seconds = time.monotonic() - begun
        report = {"engine": "atheris", "seed": options.seed, "inputs": done, "calls": calls, "seconds": round(seconds)}
        sys.stdout.write(json.dumps(report | {"outcomes": stages.outcomes}) + "\n")
        sys.stdout.flush()

    def begin_anew(now: float) -> None:
        left = max(0.01, options.minutes - (now - begun) / 60) if options.minutes else 0
        changed = {"inputs": options.inputs - done, "minutes": left, "seed": options.seed + 1, "corpus": corpus}
        kept = {"most-bytes": options.most_bytes}
        signal.setitimer(signal.ITIMER_REAL, 0)  # libFuzzer's; it would outlive its handler
        arguments = [f"--{name}={value}" for name, value in (changed | kept).items()]
        os.execv(sys.executable, [sys.executable, "-m", "kafka_ingest_tests.fuzz.guided", *arguments])  # noqa: S606

    def one(data: bytes) -> None:
        nonlocal done, calls, said
        which, messages = take_apart(data)
        stages.check_these(which % len(STREAMS), messages)
        check_these_dates(dates_of(messages), RULES[which % len(RULES)], alone=1)
        done += len(messages)
        calls += 1
        now = time.monotonic()
        if now - said > SAY_SECONDS:
            said = now
            say()
        if options.crash is None and (
            done >= options.inputs or (options.minutes and now - begun > options.minutes * 60)
        ):
            say()
            os._exit(0)  # libFuzzer has no other end for "enough"
        if not calls % 1_000 and psutil.Process().memory_info().rss > options.most_bytes:
            say()
            begin_anew(now)

    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="fuzz"))
    corpus.mkdir(parents=True, exist_ok=True)
    mutator = Mutator(options.seed)
    values, keys = mutator.values(_SEEDS * _LINES), mutator.keys(_SEEDS * _LINES)
    kinds = (b"e", b"account", b"information", b"announcement", b"booking")
    for number in range(_SEEDS):
        part = range(number * _LINES, (number + 1) * _LINES)
        lines = [(values[n] or b"", keys[n] or b"", kinds[n % len(kinds)]) for n in part]
        (corpus / f"seed{number:04}").write_bytes(put_together(number % len(STREAMS), lines)[:MAX_BYTES])
    arguments = [f"-seed={options.seed % 2**32}", f"-max_len={MAX_BYTES}", "-timeout=60", "-rss_limit_mb=4096"]
    where = [str(options.crash)] if options.crash is not None else [str(corpus)]
    atheris.Setup([sys.argv[0], *arguments, *where], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
