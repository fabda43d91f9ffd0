"""`python -m kafka_ingest_tests.fuzz --inputs 10000000 [--minutes M] [--seed S]`: exit code 1 and the inputs where it breaks."""

from __future__ import annotations

import argparse
import json
import sys
import time

from kafka_ingest_tests.fuzz.mutate import Mutator
from kafka_ingest_tests.fuzz.stages import RULES, Broken, Messages, check_dates

SLICE = 20_000
SAY_SECONDS = 30.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this long; 0: no limit")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    messages = Messages()
    begun = said = time.monotonic()
    done = rounds = 0
    while done < options.inputs and (not options.minutes or time.monotonic() - begun < options.minutes * 60):
        mutator = Mutator(options.seed + rounds)
        try:
            for _ in range(8):
                messages.check(mutator, SLICE)
            check_dates(mutator, 2 * SLICE, RULES[rounds % len(RULES)])
        except Broken as broken:
            sys.stdout.write(f"BROKEN with --seed {options.seed + rounds}: {broken}\n")
            return 1
        rounds += 1
        done += 10 * SLICE
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            _say(options.seed, done, said - begun, messages)
    _say(options.seed, done, time.monotonic() - begun, messages)
    return 0


def _say(seed: int, done: int, seconds: float, messages: Messages) -> None:
    report = {"seed": seed, "inputs": done, "seconds": round(seconds), "inputs_a_second": round(done / seconds)}
    sys.stdout.write(json.dumps(report | {"outcomes": messages.outcomes}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
