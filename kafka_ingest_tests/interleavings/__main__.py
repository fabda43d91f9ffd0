"""`python -m kafka_ingest_tests.interleavings --examples 20000 --database mysql [--seed N] [--minutes M]`

Interleavings of writers on a real server, compared with the oracle. Prints a JSON line every half a minute; at the first that
fails its seed, a smaller example that fails alike with its trace, and exit code 1. `--seed N --examples 20` repeats a log and
its interleavings. With `--mutation NAME` (or `all`) a mend is taken out first, and it is exit code 1 if nothing fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from kafka_ingest_tests.interleavings.mutations import MUTATIONS, mutations_of
from kafka_ingest_tests.interleavings.runner import Wanted, check, mutate, silence_the_pool
from kafka_ingest_tests.interleavings.servers import SERVERS
from kafka_ingest_tests.interleavings.shapes import SHAPES


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=sorted(SERVERS), default="mysql")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this long; 0: no limit")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes, each with a server of its own"
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), default="everything")
    parser.add_argument("--numbered", action="store_true", help="tables with a primary key of their own")
    parser.add_argument("--mutation", choices=["all", *MUTATIONS], help="the mend to take out")
    options = parser.parse_args()
    silence_the_pool()
    if options.mutation is not None:
        names = mutations_of(options.database) if options.mutation == "all" else [options.mutation]
        return not mutate(names, options.database, options.seed, options.examples, is_numbered=options.numbered)
    return not check(
        Wanted(
            options.database,
            options.seed,
            options.examples,
            options.minutes * 60,
            options.workers,
            options.shape,
            options.numbered,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
