"""A replay in a process of its own that can be told to die at a step, or before a statement that begins so.

python -m kafka_ingest_tests.e2e.replay_child DATABASE_URL [--die-at STEP] [--die-before-sql PATTERN]
"""

from __future__ import annotations

import argparse
import uuid

import sqlalchemy as sa

from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest_tests.e2e.child import die, die_before_sql
from kafka_ingest_tests.support.letters import FIXED


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--die-at", choices=[*map(str, LoadStep)])
    parser.add_argument("--die-before-sql")
    options = parser.parse_args()
    sink = open_sink(sa.make_url(options.url))
    if options.die_before_sql is not None:
        die_before_sql(sink.engine, options.die_before_sql)
    run_id = str(uuid.uuid4())

    def at_step(at: str) -> None:
        if at == options.die_at:
            die()

    for _ in replay(sink, plan_replay(sink, FIXED, DeadLetterFilter(), run_id=run_id), run_id=run_id, at_step=at_step):
        pass
    sink.close()


if __name__ == "__main__":
    main()
