"""Which streams share a live run, and which declarations are refused."""

from __future__ import annotations

import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.group import groups_of
from kafka_ingest.streams.registry import check_together
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.support.grouped import small_stream


def test_streams_that_name_a_group_are_one_and_others_each_their_own() -> None:
    found = groups_of([small_stream("a"), small_stream("b", group=None), small_stream("c"), small_stream("d", "other")])
    assert [(g.name, [s.name for s in g.streams], g.is_shared) for g in found] == [
        ("small", ["a", "c"], True),
        ("b", ["b"], False),
        ("other", ["d"], True),
    ]


def test_the_run_of_a_group_is_as_short_as_its_shortest_and_lingers_as_long_as_its_longest() -> None:
    (group,) = groups_of(
        [
            small_stream("a", batch=BatchPolicy(max_run_seconds=600, linger_seconds=5)),
            small_stream("b", batch=BatchPolicy(max_run_seconds=40, max_wait_seconds=20)),
        ]
    )
    assert (group.max_run_seconds, group.handover_seconds, group.linger) == (40, 10, 20)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "x" * 65])
def test_a_group_is_named_as_a_stream_is(name: str) -> None:
    with pytest.raises(ConfigError, match=r"stream a: group .* letters, digits and _ only"):
        check_together([small_stream("a", name)])


def test_a_stream_is_not_divided_and_in_a_group_as_well() -> None:
    with pytest.raises(ConfigError, match=r"shards=2 .* group='small' .* leave one of them out"):
        check_together([small_stream("a", batch=BatchPolicy(shards=2))])


def test_a_group_has_no_streams_name() -> None:
    with pytest.raises(ConfigError, match="group 'b' is the name of a stream, too"):
        check_together([small_stream("a", "b"), small_stream("b", None)])
    with pytest.raises(ConfigError, match="the name of a stream"):
        check_together([small_stream("a", "a")])
