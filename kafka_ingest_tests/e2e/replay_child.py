"""A replay in a process of its own that can be told to die at a step.

python -m kafka_ingest_tests.e2e.replay_child DATABASE_URL [STEP]
"""

from __future__ import annotations

import sys
import uuid

import sqlalchemy as sa

from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.sinks.base import open_sink
from kafka_ingest.sinks.letters import LetterFilter
from kafka_ingest_tests.e2e.child import die
from kafka_ingest_tests.support.letters import FIXED


def main() -> None:
    url, step = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    sink = open_sink(sa.make_url(url))
    run_id = str(uuid.uuid4())

    def at_step(at: str) -> None:
        if at == step:
            die()

    for _ in replay(sink, plan_replay(sink, FIXED, LetterFilter(), run_id=run_id), run_id=run_id, at_step=at_step):
        pass
    sink.close()


if __name__ == "__main__":
    main()
