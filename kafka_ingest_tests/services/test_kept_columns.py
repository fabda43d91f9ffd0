"""Columns that a message does not carry keep their values, whatever is loaded in which order, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped, mapped_column

from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.kept import PLACE_PREFIX, place_column
from kafka_ingest.streams.model import FIELD_RULE, PLACE_TYPE, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.target import SECONDS, Held, Target
from kafka_ingest_tests.support.partial import (
    LOGS,
    PARTITIONS,
    PEOPLE,
    Log,
    Person,
    Sent,
    apply,
    clear,
    found,
    places,
    plans,
    slice_of,
    wanted,
)
from kafka_ingest_tests.support.typed import FULL, Typed

pytestmark = pytest.mark.services


@pytest.fixture(params=["mysql", "mariadb", "postgresql"])
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    found = open_sink(sa.make_url(request.getfixturevalue(f"{request.param}_url")))
    yield found
    found.close()


@pytest.fixture
def target(sink: Sink) -> Target:
    return Target(PEOPLE, sink)


# Shrinking on a server takes minutes; the same property on SQLite makes what fails smaller.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data(), log=LOGS)
def test_the_table_is_the_same_whoever_came_first(target: Target, data: st.DataObject, log: Log) -> None:
    clear(target)
    apply(target, log, data.draw(plans(log)))
    assert found(target) == wanted(log)
    before = places(target)
    apply(target, log, data.draw(plans(log)))
    assert found(target) == wanted(log)
    assert places(target) == before


@pytest.mark.parametrize("is_delete_first", [False, True], ids=["the row first", "the delete first"])
def test_a_late_row_and_a_late_delete_that_meet_do_not_miss_each_other(target: Target, is_delete_first: bool) -> None:
    """A row stands there that is later than both, with no note. The row would give it one, of before the delete."""
    log = (
        (Sent("k", 2, None), Sent("k", 3, (("whole", 1),))),
        (Sent("k", 1, (("note", "of before"), ("whole", 2))),),
    )
    target.pin(dict.fromkeys(PARTITIONS, 0))
    target.load(slice_of(log, [(0, 1, 2)]), "backfill")
    spans = [(1, 0, 1), (0, 0, 1)]
    first, second = reversed(spans) if is_delete_first else spans
    held = Held(target, slice_of(log, [first]), LoadStep.COMMIT, "backfill")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, slice_of(log, [second]), "backfill")
        wait([other], timeout=1)  # it waits for the lock of the first, or has passed it by
        held.let_go()
        other.result(SECONDS)
    assert found(target)["t_person"] == {"k": (1, None, "?", None, None)} == wanted(log)["t_person"]


class AllKept(UpsertModel):
    """The columns of every type, kept."""

    __tablename__ = "t_all_kept"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

    id: Mapped[int] = field(sa.Integer, primary_key=True)


TYPED = [column for column in Typed.__table__.columns if FIELD_RULE in column.info]
for each in TYPED:
    info = each.info | {FIELD_RULE: replace(each.info[FIELD_RULE], keep_absent=True)}
    default = b"none" if each.name == "fixed" else 7 if each.name == "bit8" else None
    setattr(AllKept, each.name, mapped_column(each.name, each.type, nullable=True, info=info, default=default))
    setattr(AllKept, place_column(each.name), mapped_column(place_column(each.name), PLACE_TYPE, nullable=True))
ALL_KEPT = Stream(name="all_kept", topics="typed", routes={"typed": AllKept}, route_by=RouteByTopic())


def test_a_value_of_each_type_is_kept_as_it_is_and_goes_with_a_delete(sink: Sink) -> None:
    target = Target(ALL_KEPT, sink)

    def rows() -> list[tuple[Any, ...]]:
        with sink.engine.connect() as connection:
            table = AllKept.__table__
            return list(
                map(tuple, connection.execute(sa.select(*(table.c[c.name] for c in TYPED)).order_by(table.c.id)))
            )

    target.receive({"id": 1} | FULL, {"id": 2} | FULL, {"id": 3})
    full, again, empty = rows()
    assert target.dead_letters() == []
    assert full == again
    target.receive({"id": 1}, {"id": 2})
    assert rows() == [full, again, empty]
    target.load(raw_slice(Part([Msg(None, key=b"1", offset=5)], "typed", start=5)))
    target.receive({"id": 1})
    delete = Part([Msg(None, key=b"2", timestamp_ms=MORNING_MS + 3_500)], "typed", 1)
    target.pin({TopicPartition("typed", 1): 0})
    target.load(raw_slice(delete))
    assert rows() == [empty, empty, empty]


def test_a_table_of_whole_rows_gets_the_columns_of_places(target: Target) -> None:
    log = ((Sent("k", 1, (("note", "old"), ("number", 1))), Sent("k", 2, (("whole", 1),))), ())
    apply(target, log, [])
    with target.sink.engine.begin() as connection:
        names = [column.name for column in Person.__table__.c if column.name.startswith(PLACE_PREFIX)]
        for name in names:
            connection.exec_driver_sql(f"ALTER TABLE t_person DROP COLUMN {name}")
        connection.exec_driver_sql("UPDATE t_person SET number = NULL")  # as a row without it was written
    prepare_tables(target.sink, PEOPLE)
    assert {each[3:] for each in places(target)["t_person"]} == {(None,) * len(names)}
    target.load(slice_of(log, [(0, 0, 1)]), "backfill")
    assert found(target)["t_person"] == {"k": (1, 1, "old", None, None)} == wanted(log)["t_person"]
