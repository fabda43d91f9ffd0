"""A stream that cannot work is refused when it is declared; the registry finds those of any package."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.model import Model, UpsertModel, field
from kafka_ingest.streams.registry import check_groups, check_tables, declared_streams
from kafka_ingest.streams.stream import BatchPolicy, RouteByTopic, Stream
from kafka_ingest.testing.models import Account, Booking, Event, Slot
from kafka_ingest_tests.support.made import Make


def stream(name: str = "s", **changes: Any) -> Stream:
    return Stream(**{"name": name, "topics": "t", "routes": {"e": Event}, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "no-dashes"}, "letters, digits and _ only"),
        ({"name": "1st"}, "no digit first"),
        ({"name": "x" * 65}, "at most 64"),
        ({"topics": ""}, "topics is empty"),
        ({"topics": ()}, "topics is empty"),
        ({"topics": ("a", "")}, "topics is empty"),
        ({"topics": "^news-("}, r"topic pattern '\^news-\('"),
        ({"routes": {}}, "routes is empty"),
        ({"max_dead_letter_ratio": 1.5}, "not 0 to 1"),
        ({"start": dt.datetime(2026, 1, 1)}, "start=.* needs a time zone"),
        ({"window_start": dt.datetime(2026, 1, 1)}, "window_start=.* needs a time zone"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"routes": {"a": Account, "b": Booking}}, "only one model may delete on tombstones"),
    ],
)
def test_a_stream_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stream(**changes)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("min_messages", 0),
        ("max_wait_seconds", -1.0),
        ("max_wait_seconds", 90_000.0),
        ("max_rows", 0),
        ("max_rows", 2_000_000),
        ("max_bytes", 100),
        ("linger_seconds", -0.5),
        ("max_run_seconds", 100_000.0),
    ],
)
def test_a_batch_policy_has_bounds_and_names_them(name: str, bad: float) -> None:
    with pytest.raises(ConfigError, match=f"BatchPolicy.{'linger_seconds' if 'linger' in name else name} is {bad}"):
        BatchPolicy(**{name: bad})  # type: ignore[arg-type]


def test_a_batch_is_due_at_ten_messages_or_ten_seconds_unless_said_otherwise() -> None:
    policy = stream().batch
    assert (policy.min_messages, policy.max_wait_seconds, policy.linger) == (10, 10.0, 10.0)
    assert BatchPolicy(max_wait_seconds=3).linger == 3
    assert BatchPolicy(linger_seconds=0).linger == 0


def test_several_models_may_delete_on_tombstones_where_the_topic_tells_them_apart() -> None:
    routed = stream(routes={"a": Account, "b": Booking}, route_by=RouteByTopic(), topics=("a", "b"))
    assert [t.label for t in routed.targets] == ["t_account", "t_booking"]


def test_a_model_with_two_routes_is_one_table() -> None:
    routed = stream(routes={"a": Event, "b": Account, "c": Event})
    assert [routed.model_of(target) for target in routed.targets] == [Event, Account]


def test_topics_are_a_name_several_names_or_a_pattern_for_whole_names() -> None:
    assert [stream(topics="a").takes_topic(t) for t in ("a", "ab")] == [True, False]
    assert [stream(topics=("a", "b")).takes_topic(t) for t in ("a", "b", "c")] == [True, True, False]
    pattern = stream(topics="^news-.")
    assert [pattern.takes_topic(t) for t in ("news-1", "news-12", "old-news-1")] == [True, False, False]
    assert (pattern.is_pattern, pattern.topic_text) == (True, "^news-.")


def by_name(*streams: Stream) -> dict[str, Stream]:
    return {each.name: each for each in streams}


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ({"topics": "a"}, {"topics": "a"}, True),
        ({"topics": ("a", "b")}, {"topics": ("b", "c")}, True),
        ({"topics": "a"}, {"topics": "a", "group_id": "own"}, False),
        ({"topics": "a"}, {"topics": "b"}, False),
        ({"topics": "^news.*"}, {"topics": "news1"}, True),
        ({"topics": "news1"}, {"topics": "^news.*"}, True),
        ({"topics": "^news.*"}, {"topics": "^news.*"}, True),
        ({"topics": "^news.*"}, {"topics": "old"}, False),
    ],
)
def test_streams_that_share_a_topic_need_consumer_groups_of_their_own(
    one: dict[str, Any], other: dict[str, Any], collide: bool
) -> None:
    streams = by_name(stream("one", **one), stream("other", routes={"s": Slot}, **other))
    if collide:
        with pytest.raises(ConfigError, match=r"one and other both read '.*' with one consumer group"):
            check_groups(streams)
    else:
        check_groups(streams)


def test_a_table_belongs_to_one_stream() -> None:
    check_tables(by_name(stream("one", routes={"e": Event, "f": Event}), stream("other", routes={"s": Slot})))
    with pytest.raises(ConfigError, match="streams one and other both load table 't_event'"):
        check_tables(by_name(stream("one"), stream("other", topics="u", routes={"s": Slot, "e": Event})))


def test_two_tables_that_differ_by_case_only_are_one_table() -> None:
    class Upper(UpsertModel):
        __tablename__ = "T_EVENT"
        delete_on_tombstone: ClassVar[bool] = False
        id: Mapped[str] = field(sa.String(8), primary_key=True)

    with pytest.raises(ConfigError, match="both load table 'T_EVENT'"):
        check_tables(by_name(stream("one"), stream("other", topics="u", routes={"u": Upper})))
    Model.metadata.remove(Upper.__table__)


def test_a_table_of_tombstones_belongs_to_one_stream_too(made: Make) -> None:
    deleting = made("x", UpsertModel, delete_on_tombstone=True)
    with pytest.raises(ConfigError, match="streams one and other both load table 'x_tombstones'"):
        check_tables(
            by_name(
                stream("one", routes={"x": deleting}), stream("other", topics="u", routes={"t": made("x_tombstones")})
            )
        )


def test_models_of_one_stream_have_tables_of_their_own(made: Make) -> None:
    class Child(Event):
        """Mapped to its parent's table: SQLAlchemy's single-table inheritance."""

    deleting = made("y", UpsertModel, delete_on_tombstone=True)
    pairs: list[tuple[type[Model], type[Model], str]] = [
        (Event, Child, "t_event"),
        (Event, made("T_Event"), "T_Event"),
        (made("z", schema="a"), made("Z", schema="A"), "A.Z"),
        (deleting, made("y_tombstones"), "y_tombstones"),
    ]
    for one, other, table in pairs:
        names = rf"{one.__name__} and \S*{other.__name__} both write to table '{table}'"
        with pytest.raises(ConfigError, match=names):
            stream(routes={"a": one, "b": other})


def test_tables_of_one_name_in_different_schemas_are_different_tables(made: Make) -> None:
    tables = [made("n", UpsertModel, schema=schema, delete_on_tombstone=True) for schema in (None, "a", "b")]
    routed = stream(topics=("1", "2", "3"), route_by=RouteByTopic(), routes=dict(zip("123", tables, strict=True)))
    assert [target.label for target in routed.targets] == ["n", "a.n", "b.n"]
    assert len({target.identifier for target in routed.targets}) == 3
    assert [routed.route_of(target) for target in routed.targets] == ["1", "2", "3"]


def test_the_ledgers_names_are_taken_in_its_own_schema_only(made: Make) -> None:
    assert stream(routes={"a": made("ledger", schema="other")}).targets[0].label == "other.ledger"
    with pytest.raises(ConfigError, match="table name 'ledger' is taken"):
        stream(routes={"a": made("ledger")})


OUTSIDE = "kafka_ingest_tests.support.outside"


def test_without_a_word_the_packages_own_streams_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_INGEST_STREAMS", raising=False)
    assert list(declared_streams()) == ["information"]


def test_streams_of_an_outside_package_are_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_STREAMS", f" {OUTSIDE} ,kafka_ingest.streams.information")
    assert list(declared_streams()) == ["orders", "information"]


def test_a_package_and_its_own_module_do_not_collide() -> None:
    assert list(declared_streams([OUTSIDE, f"{OUTSIDE}.orders"])) == ["orders"]


def test_a_module_that_cannot_be_imported_and_one_without_a_stream_are_named() -> None:
    with pytest.raises(ConfigError, match="names 'no_such_module', which cannot be imported"):
        declared_streams(["no_such_module"])
    with pytest.raises(ConfigError, match=r"module '.*helper' declares no STREAM"):
        declared_streams([f"{OUTSIDE}.helper"])


def user_module(folder: Path, name: str, text: str) -> None:
    folder.joinpath(f"{name}.py").write_text(
        "from kafka_ingest.streams.stream import Stream\nfrom kafka_ingest.testing.models import Event, Slot\n" + text
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (("same", "a", "Event"), ("same", "b", "Slot"), "two streams are named 'same'"),
        (("one", "a", "Event"), ("two", "a", "Slot"), "both read 'a' with one consumer group"),
        (("one", "a", "Event"), ("two", "b", "Event"), "both load table 't_event'"),
    ],
)
def test_declared_streams_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[str, ...], second: tuple[str, ...], message: str
) -> None:
    names = []
    for number, (name, topic, model) in enumerate((first, second)):
        names.append(f"user_{message[:3].strip()}_{number}")
        text = f"STREAM = Stream(name={name!r}, topics={topic!r}, routes={{'x': {model}}})\n"
        user_module(tmp_path, names[-1], text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=message):
        declared_streams(names)
    for name in names:
        sys.modules.pop(name, None)
