"""Flink SQL: `INSERT INTO` a JDBC table `SELECT` from a Kafka table, in the SQL client's own small cluster."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

import sqlalchemy as sa

from benchmarks.peers.jars import java_and_jars
from benchmarks.peers.jdbc import jdbc_url
from benchmarks.peers.job import Job
from benchmarks.peers.program import Program, program
from benchmarks.peers.tables import make_table
from kafka_ingest.local.files import write_private

PEER = "flink"
BATCH_SIZE = 5_000
# What Flink's own configuration opens for Java 17.
_OPENED = (
    "java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks",
)  # fmt: skip


@contextmanager
def sql(job: Job) -> Iterator[Program]:
    """As many tasks as processors, as Spark's `local[*]`; see `Peer`."""
    java, jars = java_and_jars(PEER, "flink-sql-client-*.jar")
    url = sa.make_url(job.database_url)
    make_table(job.database_url, job.table)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        statements = Template(Path(program("flink_news.sql")).read_text()).substitute(
            parallelism=os.cpu_count() or 1,
            folder=folder,
            topic=job.topic,
            bootstrap=job.bootstrap,
            group=f"peer-{uuid.uuid4().hex[:8]}",
            jdbc_url=jdbc_url(url),
            table=job.table,
            user=url.username or "",
            password=url.password or "",
            batch_size=BATCH_SIZE,
        )
        write_private(folder / "news.sql", statements)
        write_private(folder / "config.yaml", "execution.target: local\n")
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        # DATETIME has no zone: the driver writes instants in the JVM's.
        options = ["-Xmx2g", "-Duser.timezone=UTC", f"-Djava.io.tmpdir={folder}"]
        client = ["org.apache.flink.table.client.SqlClient", "embedded", "-f", str(folder / "news.sql")]
        yield Program(
            PEER,
            [java, *opened, *options, "-cp", f"{jars}/*", *client, "-hist", str(folder / "history")],
            job.table,
            f"Flink SQL, parallelism {os.cpu_count() or 1}, dates translated, JDBC sink: {BATCH_SIZE:,} rows or a second, "
            "rewriteBatchedStatements, a checkpoint every ten seconds",
            environment={"FLINK_CONF_DIR": name},
        )
