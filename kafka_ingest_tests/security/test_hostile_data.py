"""SQL, markdown and HTML in messages, and identifiers nobody should choose, stay data."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, field
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest.testing.messages import Msg, one
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.security.secure_database import SecureDatabase

pytestmark = pytest.mark.services

HOSTILE = [
    "'; DROP TABLE information; -- ",
    '" OR "1"="1',
    "`); DELETE FROM x; #",
    "\\'; SELECT SLEEP(9); --",
    "100%s %(name)s %% {0} :name",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1)) `code` | cell | <script>",
    "\\N",
    "line\nbreak\ttab\0nul",
    "/*!50000 DROP */",
]
TABLE = "odd `table` 100%s'\""
COLUMN = "odd `col` 100%s'\" :x"
KEY = "k`ey%"
_NUMBERS = count()


def model(base: type[Model], table: str, columns: dict[str, Any], **more: Any) -> type[Model]:
    """A model with names that no class statement could give."""
    annotations = dict.fromkeys(columns, Mapped[str | None] if base is AppendModel else Mapped[str])
    return type(
        f"Odd{next(_NUMBERS)}", (base,), {"__tablename__": table, "__annotations__": annotations, **columns, **more}
    )


ODD_ROWS = model(AppendModel, TABLE, {COLUMN: field(sa.String(100), path="text")})
ODD_KEYS = model(
    UpsertModel,
    TABLE + "2",
    {KEY: field(sa.String(100), path="text", primary_key=True), COLUMN: field(sa.String(100), path="more")},
    delete_on_tombstone=True,
)
NEW = "new`; DROP TABLE kafka_ingest_offsets; --"
LATER = model(AppendModel, "later", {NEW: field(sa.String(9), path="n")})
STREAM = Stream(
    name="hostile",
    topics="hostile",
    route_by=RouteByField("type"),
    routes={"row": ODD_ROWS, "key": ODD_KEYS},
)


@pytest.fixture
def url(secure_database: SecureDatabase) -> str:
    return fresh_database(secure_database.server)


@pytest.mark.parametrize("uses_load_data", [True, False])
def test_names_with_quotes_and_values_with_sql_go_in_and_come_out_as_they_are(url: str, uses_load_data: bool) -> None:
    target = Target(STREAM, MySQLSink(sa.make_url(url)))
    assert isinstance(target.sink, MySQLSink)
    target.sink.uses_load_data = uses_load_data
    target.pin({TopicPartition("hostile", 0): 0})
    rows = [Msg({"type": "row", "text": text}) for text in HOSTILE]
    keyed = [Msg({"type": "key", "text": text, "more": text}) for text in (*HOSTILE, HOSTILE[0])]
    strangers = [Msg({"type": text}, key=text.encode(), headers=[(text, text.encode())]) for text in HOSTILE]
    result = target.load(one(*rows, *keyed, *strangers, topic="hostile"))
    assert (result.total("rows"), result.total("dead_letters")) == (len(rows) + len(keyed), len(strangers))
    quote = target.sink.engine.dialect.identifier_preparer.quote_identifier
    for each, name in ((ODD_ROWS, COLUMN), (ODD_KEYS, KEY), (ODD_KEYS, COLUMN)):
        table = sa.Table(str(each.__tablename__), sa.MetaData(), sa.Column(name, sa.String))
        with target.sink.engine.connect() as connection:
            assert sorted(connection.execute(sa.select(table.c[name])).scalars()) == sorted(HOSTILE), quote(name)
    letters = target.all(
        "SELECT message_value, message_key, error FROM kafka_ingest_dead_letters ORDER BY kafka_offset"
    )
    assert [(json.loads(v)["type"], k.decode()) for v, k, _ in letters] == [(t, t) for t in HOSTILE]
    # Loaded again, in place; the filter of a replay is data, too.
    with target.sink.engine.connect() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(sa.table(TABLE))).scalar()
    target.load(one(*rows, *keyed, *strangers, topic="hostile"), "backfill")
    with target.sink.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(sa.table(TABLE))).scalar() == before
    for text in HOSTILE[:4]:
        plan = plan_replay(target.sink, STREAM, DeadLetterFilter(error=text, route=text), run_id="r")
        assert list(replay(target.sink, plan, run_id="r", now=lambda: NOW)) == [] or plan.letters


def test_a_missing_column_with_a_hostile_name_is_quoted_in_the_statement_and_when_added(url: str) -> None:
    sink = MySQLSink(sa.make_url(url))
    target = Target(STREAM, sink)
    grown = replace(STREAM, name="grown", routes={"row": LATER})
    with sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE later (_kafka_topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin, _kafka_partition INT, "
            "_kafka_offset BIGINT, _kafka_timestamp DATETIME(6), PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset))"
        )
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(sink, grown)
    assert "ADD COLUMN `new``; DROP TABLE kafka_ingest_offsets; --`" in str(caught.value)
    prepare_tables(sink, replace(grown, evolve=True))
    assert [row[0] for row in target.all("SHOW COLUMNS FROM later") if row[0].startswith("new")] == [NEW]
    assert target.all("SHOW TABLES LIKE 'kafka_ingest_offsets'")
