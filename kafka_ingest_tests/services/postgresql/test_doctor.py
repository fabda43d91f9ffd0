"""What the doctor says of a PostgreSQL, and of what is not granted there."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.findings import Finding
from kafka_ingest.ledger.tables import METADATA
from kafka_ingest.sinks.base import Needs
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.sinks.tables import tables_of
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.services.postgresql.steps import at, execute
from kafka_ingest_tests.support.loads import event

pytestmark = pytest.mark.services


def findings(url: sa.URL, *, makes_tables: bool = False, adds_columns: bool = False) -> dict[str, Finding]:
    sink = PostgreSQLSink(url)
    try:
        with sink.engine.connect() as connection:
            needs = Needs(makes_tables, adds_columns, [*tables_of(MIXED), *METADATA.sorted_tables])
            return {each.check: each for each in sink.examine(connection, needs)}
    finally:
        sink.close()


def catalogue(target: Target) -> list[tuple[Any, ...]]:
    return target.all("SELECT relname FROM pg_class WHERE relname LIKE '%%doctor%%'")


def test_a_server_that_has_all_a_run_needs_is_fine_and_nothing_is_left_behind(target: Target, url: sa.URL) -> None:
    target.load(at(0, event("a")))
    assert {each.verdict for each in findings(url, makes_tables=True, adds_columns=True).values()} == {"ok"}
    assert catalogue(target) == []


def test_what_is_not_granted_is_named_with_the_statement_that_grants_it(
    target: Target, url: sa.URL, server: LocalPostgreSQL
) -> None:
    role, database = f"r_{uuid.uuid4().hex[:8]}", url.database
    server.run_as_administrator(f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 5")
    server.run_as_administrator(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    execute(
        target,
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT DELETE ON t_event TO {role}",
        "ALTER TABLE t_account ENABLE ROW LEVEL SECURITY",
    )
    found = findings(url.set(username=role, password="p"), makes_tables=True, adds_columns=True)  # noqa: S106
    assert "DELETE ON t_account" in found["privileges"].detail
    assert "USAGE ON SEQUENCE kafka_ingest_batches_id_seq" in found["privileges"].detail
    assert "t_event" not in found["privileges"].detail
    assert "GRANT DELETE ON t_account TO this user" in str(found["privileges"].fix)
    failed = {check for check, each in found.items() if each.verdict == "fail"}
    wanted = {"privileges", "privileges to make tables", "privileges to add columns", "row security", "staging tables"}
    assert failed == wanted
    assert found["connections"].verdict == "warn"
    assert findings(url.set(username=role, password="p"))["privileges to make tables"].verdict == "ok"  # noqa: S106
    assert catalogue(target) == []


def test_a_database_that_takes_no_writes_is_told(target: Target, url: sa.URL, server: LocalPostgreSQL) -> None:
    server.run_as_administrator(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
    found = findings(url)["writable"]
    assert (found.verdict, found.detail) == ("fail", "default_transaction_read_only is on")


def test_counting_that_takes_too_long_is_an_estimate(target: Target) -> None:
    target.load(at(0, event("a"), event("b")))
    table = MIXED.routes["event"].__table__
    assert isinstance(table, sa.Table)
    with target.sink.engine.connect() as connection:
        assert target.sink.count_rows(connection, table, seconds=5) == (2, True)
        before = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
    execute(target, "ANALYZE t_event")
    with target.sink.engine.begin() as holder, target.sink.engine.connect() as connection:
        holder.exec_driver_sql("LOCK TABLE t_event")
        assert target.sink.count_rows(connection, table, seconds=0.2) == (2, False)
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == before
