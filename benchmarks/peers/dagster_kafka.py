"""dagster-kafka (PyPI): its IO manager reads a topic into a list, an asset writes a DataFrame of it with `to_sql`."""

from __future__ import annotations

import tempfile
import uuid

from benchmarks.peers.result import Result
from benchmarks.peers.tables import make_table
from benchmarks.peers.venvs import venv_python
from benchmarks.peers.watch import DEFAULT_CAP_SECONDS, measure, program


def load_as_shipped(
    bootstrap: str,
    topic: str,
    database_url: str,
    table: str,
    messages: int,
    *,
    cap_seconds: float = DEFAULT_CAP_SECONDS,
) -> Result:
    """`KafkaIOManager` as it is: at most 20 polls, thus 20 messages, a materialization."""
    note = (
        "KafkaIOManager, max_messages 10,000, but its load_input stops after 20 polls and sleeps 2 s first, so 20 messages "
        "a materialization; in-process materializations in a row, no run launch between; to_sql(method='multi')"
    )
    return _load("dagster-kafka", "io-manager", note, bootstrap, topic, database_url, table, messages, cap_seconds)


def load_unlimited(
    bootstrap: str,
    topic: str,
    database_url: str,
    table: str,
    messages: int,
    *,
    cap_seconds: float = DEFAULT_CAP_SECONDS,
) -> Result:
    """Its `KafkaResource`'s consumer polled by the asset itself, as the IO manager polls but without its limit."""
    note = (
        "KafkaResource's consumer, polled message by message like the IO manager but without its limit of 20, its sleep and "
        "its log line per message: 10,000 messages a materialization; to_sql(method='multi', chunksize=1000)"
    )
    return _load(
        "dagster-kafka-unlimited", "resource", note, bootstrap, topic, database_url, table, messages, cap_seconds
    )


def _load(
    peer: str,
    way: str,
    note: str,
    bootstrap: str,
    topic: str,
    database_url: str,
    table: str,
    messages: int,
    cap_seconds: float,
) -> Result:
    python = venv_python("dagster-kafka")
    make_table(database_url, table)
    with tempfile.TemporaryDirectory() as home:
        return measure(
            peer,
            [str(python), program("dagster_kafka_load.py")],
            environment={
                "PEER_BOOTSTRAP": bootstrap,
                "PEER_TOPIC": topic,
                "PEER_DATABASE_URL": database_url,
                "PEER_TABLE": table,
                "PEER_GROUP": f"{peer}-{uuid.uuid4().hex[:8]}",
                "PEER_WAY": way,
                "DAGSTER_HOME": home,
                "DAGSTER_DISABLE_TELEMETRY": "yes",
            },
            database_url=database_url,
            table=table,
            messages=messages,
            cap_seconds=cap_seconds,
            note=note,
            required=("id", "title", "source", "publish_time", "crawl_time"),
        )
