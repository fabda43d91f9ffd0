"""Which ranges a run ingests first, and what happens where the log no longer holds what the ledger expects."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest

from kafka_ingest.engine.plan import plan
from kafka_ingest.engine.stream_state import observe, oldest_wait_seconds, oldest_window, partition_states
from kafka_ingest.errors import ConfigError, DataLoss, OffsetGap
from kafka_ingest.slices import Batch, BatchKind, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import BatchPolicy, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED, Account, Event
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.cluster import SETTINGS, FakeMessage, FakeMetadata, Log, log

P0, P1, Q0 = TopicPartition("mixed", 0), TopicPartition("mixed", 1), TopicPartition("mixed2", 0)


class Case:
    """A stream, its database and its cluster."""

    def __init__(self, logs: dict[TopicPartition, Log], **changes: Any) -> None:
        self.stream: Stream = dataclasses.replace(MIXED, **changes)
        self.target = Target(self.stream)
        self.metadata = FakeMetadata(logs)

    def plan(self, requested: Sequence[OffsetRange] = (), kind: BatchKind = "live") -> Batch:
        return plan(
            self.stream,
            requested,
            kind,
            metadata=self.metadata,
            sink=self.target.sink,
            settings=SETTINGS,
            run_id="run",
            now=NOW,
        )


def full(tp: TopicPartition, end: int, start: int = 0) -> Log:
    return log(tp, range(start, end), end, start=start)


def test_a_first_run_makes_the_tables_pins_every_partition_and_takes_what_waits() -> None:
    case = Case({P0: full(P0, 5), P1: full(P1, 9, start=3), Q0: full(Q0, 0)})
    assert str(case.plan()) == "mixed[0]@[0,5), mixed[1]@[3,9)"
    assert case.target.offsets() == {"mixed2[0]": 0, "mixed[0]": 0, "mixed[1]": 3}


@pytest.mark.parametrize(
    ("start", "pinned"),
    [
        ("earliest", {"mixed[0]": 2, "mixed[1]": 0}),
        ("latest", {"mixed[0]": 9, "mixed[1]": 4}),
        ("group", {"mixed[0]": 6, "mixed[1]": 0}),
        (dt.datetime.fromtimestamp(3, dt.timezone.utc), {"mixed[0]": 3, "mixed[1]": 3}),
        (dt.datetime.fromtimestamp(5, dt.timezone.utc), {"mixed[0]": 5, "mixed[1]": 4}),
    ],
)
def test_a_stream_starts_where_it_says(start: Any, pinned: dict[str, int]) -> None:
    case = Case({P0: full(P0, 9, start=2), P1: full(P1, 4)}, start=start)
    case.metadata.committed = {P0: 6}
    case.plan()
    assert case.target.offsets() == pinned


def test_a_partition_added_to_a_topic_that_is_read_starts_at_its_first_message() -> None:
    case = Case({P0: full(P0, 9)}, start="latest")
    case.plan()
    case.metadata.logs[P1] = full(P1, 4)
    case.plan()
    assert case.target.offsets() == {"mixed[0]": 9, "mixed[1]": 0}


def test_a_batch_has_at_most_one_slice_of_rows() -> None:
    case = Case({P0: full(P0, 500), P1: full(P1, 7)}, batch=BatchPolicy(max_rows=100))
    assert str(case.plan()) == "mixed[0]@[0,93), mixed[1]@[0,7)"


def test_what_was_requested_and_is_loaded_since_is_left_out() -> None:
    case = Case({P0: full(P0, 9), P1: full(P1, 9)})
    case.target.pin({P0: 4, P1: 9})
    requested = [OffsetRange("mixed", 0, 2, 6), OffsetRange("mixed", 1, 0, 9)]
    assert str(case.plan(requested)) == "mixed[0]@[4,6)"


def test_a_request_above_the_ledger_is_refused() -> None:
    case = Case({P0: full(P0, 9)})
    with pytest.raises(
        OffsetGap, match=r"mixed\[0\]@\[3,9\) starts above the ledger's next offset 0.*leave out 3"
    ) as caught:
        case.plan([OffsetRange("mixed", 0, 3, 9)])
    assert caught.value.values() == {"stream": "mixed", "range": OffsetRange("mixed", 0, 3, 9), "next_offset": 0}


def test_a_topic_that_is_not_there_and_a_partition_it_does_not_have_are_named() -> None:
    with pytest.raises(ConfigError, match="no topic matches 'mixed, mixed2' yet"):
        Case({}).plan()
    with pytest.raises(ConfigError, match=r"no partition for mixed\[7\]@\[0,1\)"):
        Case({P0: full(P0, 9)}).plan([OffsetRange("mixed", 7, 0, 1)])


def test_a_backfill_is_exactly_what_was_requested() -> None:
    case = Case({P0: full(P0, 9)})
    case.target.pin({P0: 9})
    batch = case.plan([OffsetRange("mixed", 0, 2, 6)], "backfill")
    assert (str(batch), batch.kind) == ("mixed[0]@[2,6)", "backfill")


@pytest.mark.parametrize(("start", "end"), [(0, 3), (2, 6), (5, 10)])
def test_a_backfill_of_offsets_the_log_does_not_hold_is_refused(start: int, end: int) -> None:
    case = Case({P0: full(P0, 9, start=3)})
    with pytest.raises(ConfigError, match=r"cannot be loaded.*: the log holds mixed\[0\]@\[3,9\)"):
        case.plan([OffsetRange("mixed", 0, start, end)], "backfill")


# --- loss


def test_offsets_that_retention_deleted_before_they_were_loaded_fail_the_run_with_their_number() -> None:
    case = Case({P0: full(P0, 9, start=6), P1: full(P1, 9, start=1)})
    case.target.pin({P0: 2, P1: 0})
    message = (
        r"5 offsets are gone: Kafka's retention deleted mixed\[0\]@\[2,6\), mixed\[1\]@\[0,1\).*on_data_loss='skip'"
    )
    with pytest.raises(DataLoss, match=message) as caught:
        case.plan()
    assert caught.value.values() == {
        "stream": "mixed",
        "ranges": (OffsetRange("mixed", 0, 2, 6), OffsetRange("mixed", 1, 0, 1)),
    }
    assert case.target.offsets() == {"mixed[0]": 2, "mixed[1]": 0}


def test_a_stream_that_skips_records_the_lost_range_and_goes_on_behind_it() -> None:
    case = Case({P0: full(P0, 9, start=6), P1: full(P1, 9)}, on_data_loss="skip")
    case.target.pin({P0: 2, P1: 4})
    batch = case.plan([OffsetRange("mixed", 0, 2, 2), OffsetRange("mixed", 1, 4, 9)])
    assert str(batch) == "mixed[0]@[6,9), mixed[1]@[4,9)"
    assert case.target.offsets() == {"mixed[0]": 6, "mixed[1]": 4}
    assert case.target.batches() == [("mixed[0]@[2,6)", "lost", 0, 0, 0, 0, 4)]
    case.plan()
    assert len(case.target.batches()) == 1


@pytest.mark.parametrize("on_data_loss", ["fail", "skip"])
def test_a_log_that_ends_below_the_ledger_always_fails(on_data_loss: str) -> None:
    case = Case({P0: full(P0, 9)}, on_data_loss=on_data_loss)
    case.target.pin({P0: 12})
    with pytest.raises(
        DataLoss, match=r"mixed\[0\] ends at 9, below the ledger's next offset 12.*KAFKA_BOOTSTRAP_SERVERS"
    ) as caught:
        case.plan()
    assert caught.value.ranges == (OffsetRange("mixed", 0, 9, 12),)


def recreated(on_data_loss: str) -> Case:
    """A topic of which ten offsets were loaded, deleted and made again with three messages."""
    case = Case({P0: full(P0, 10)}, on_data_loss=on_data_loss)
    case.metadata.ids = {"mixed": "old"}
    case.plan()
    messages = [
        Msg({"type": "event", "name": "old"}),
        Msg({"type": "account", "id": "k", "balance": 1}),
        *(Msg(None, key=b"gone") for _ in range(7)),
        Msg(b"bad"),
    ]
    case.target.load(raw_slice(Part(messages)))
    case.metadata.ids = {"mixed": "new"}
    case.metadata.logs = {P0: full(P0, 3)}
    return case


def test_a_recreated_topic_fails_the_run() -> None:
    case = recreated("fail")
    with pytest.raises(
        DataLoss, match=r"topic mixed was deleted and created again \(its id was old, is new\)"
    ) as caught:
        case.plan()
    assert caught.value.values() == {"stream": "mixed", "topics": ("mixed",)}
    assert case.target.offsets() == {"mixed[0]": 10}


def test_a_recreated_topic_starts_anew_and_what_came_from_the_old_one_stays_under_another_name() -> None:
    case = recreated("skip")
    batch = case.plan([OffsetRange("mixed", 0, 10, 10)])
    assert str(batch) == "mixed[0]@[0,3)"
    assert case.target.offsets() == {"mixed@old[0]": 10, "mixed[0]": 0}
    assert [b[0] for b in case.target.batches()] == ["mixed@old[0]@[0,10)"]
    assert [d[0] for d in case.target.dead_letters()] == ["mixed@old[0]@9"]
    later = 1_800_000_000_000
    new = [
        Msg({"type": "event", "name": "new"}, timestamp_ms=later),
        Msg({"type": "account", "id": "k", "balance": 2}, timestamp_ms=later),
        Msg({"type": "account", "id": "gone", "balance": 3}, timestamp_ms=later),
    ]
    case.target.load(raw_slice(Part(new)))
    assert case.target.rows(Event, "_kafka_topic", "name") == [("mixed", "new"), ("mixed@old", "old")]
    assert sorted(case.target.rows(Account, "id", "balance")) == [("gone", 3), ("k", 2)]
    assert case.target.offsets() == {"mixed@old[0]": 10, "mixed[0]": 3}
    assert str(case.plan()) == "nothing"


# --- how a stream stands


def seen(case: Case, now: dt.datetime, next_tick: float = 5.0) -> Any:
    state = observe(case.stream, case.metadata, case.target.sink, SETTINGS)
    return state, partition_states(state, case.stream, case.metadata, now=now, next_tick_seconds=next_tick)


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def stamped(tp: TopicPartition, *seconds: float) -> Log:
    return Log({n: FakeMessage(tp, n, stamp=int(s * 1000)) for n, s in enumerate(seconds)}, len(seconds))


def test_lag_counts_what_waits_and_not_what_is_gone() -> None:
    case = Case({P0: full(P0, 9, start=6), P1: full(P1, 9)})
    case.target.pin({P0: 2, P1: 4})
    state, _ = seen(case, NOW)
    assert state.lag == 3 + 5
    assert [state.lag_of(tp) for tp in (P0, P1)] == [3, 5]


def test_a_partition_that_is_not_pinned_yet_has_no_lag() -> None:
    state, _ = seen(Case({P0: full(P0, 9)}, start="latest"), NOW)
    assert (state.lag_of(P0), state.lag) == (0, 0)


def test_a_run_that_loads_during_the_look_does_not_seem_to_be_past_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case({P0: full(P0, 1)})
    case.target.pin({P0: 0})
    look = case.metadata.watermarks

    def look_while_a_run_loads(partitions: Sequence[TopicPartition]) -> Any:
        marks = look(partitions)
        case.metadata.logs[P0] = full(P0, 3)
        case.target.load(raw_slice(Part([Msg(b"")] * 3)))
        return marks

    monkeypatch.setattr(case.metadata, "watermarks", look_while_a_run_loads)
    state, _ = seen(case, NOW)
    assert case.target.offsets() == {"mixed[0]": 3}
    assert (state.position(P0), state.watermarks[P0].high) == (0, 1)


def test_messages_that_would_wait_too_long_until_the_next_tick_are_aged() -> None:
    case = Case({P0: stamped(P0, 100, 101, 106, 107)})
    case.target.pin({P0: 0})
    _, states = seen(case, at(110))
    assert states[P0].aged == 2  # older than 105: at the next tick, in 5 s, they would be older than 10 s
    _, states = seen(case, at(200))
    assert states[P0].aged == 4


def test_a_caught_up_stream_asks_for_no_ages() -> None:
    case = Case({P0: full(P0, 9), P1: full(P1, 9)})
    case.target.pin({P0: 9, P1: 9})
    seen(case, NOW)
    assert case.metadata.requests == 0
    case.metadata.logs[P1] = full(P1, 10)
    seen(case, NOW)
    assert case.metadata.requests == 2


def test_a_message_from_the_future_does_not_hide_the_age_of_those_behind_it() -> None:
    case = Case({P0: stamped(P0, 9_999, 101)})
    case.target.pin({P0: 1})
    _, states = seen(case, at(110))
    assert states[P0].aged == states[P0].high


def loads(case: Case, *seconds: float) -> None:
    """Of P0, from its first offset on."""
    messages = [Msg({"type": "event", "name": "n"}, timestamp_ms=int(s * 1000)) for s in seconds]
    case.target.pin({P0: 0})
    case.target.load(raw_slice(Part(messages)))


@pytest.mark.parametrize(
    ("loaded", "waiting", "age"),
    [
        ([90], [103.5, 109], 6.5),
        ([], [90], 20),
        ([90], [], None),
        ([90], [80], 20),  # by the order of messages, it is as new as the one before it
        ([9_999], [90], None),  # a producer's clock was ahead: the age is not known
        ([90], [9_999], 0),
    ],
)
def test_the_age_of_the_oldest_waiting_message_is_found_with_one_request(
    loaded: list[float], waiting: list[float], age: float | None
) -> None:
    case = Case({P0: stamped(P0, *loaded, *waiting)})
    loads(case, *loaded)
    state = observe(case.stream, case.metadata, case.target.sink, SETTINGS)
    assert oldest_wait_seconds(state, case.metadata, now=at(110)) == age
    assert case.metadata.requests == (1 if waiting else 0)


def test_the_age_is_not_known_where_the_order_of_what_was_loaded_is_not() -> None:
    case = Case({P0: stamped(P0, 90, 103)})
    case.target.pin({P0: 1})
    state = observe(case.stream, case.metadata, case.target.sink, SETTINGS)
    assert oldest_wait_seconds(state, case.metadata, now=at(110)) is None


@pytest.mark.parametrize(
    ("position", "window"),
    [(0, "2026-01-01-02:00"), (1, "2026-01-03-05:00"), (2, "2026-02-01-12:00"), (3, "2026-02-01-12:00")],
)
def test_the_window_of_the_oldest_waiting_message_is_found_with_few_requests(position: int, window: str) -> None:
    def second(day: int, hour: float, month: int = 1) -> float:
        return dt.datetime(2026, month, day, tzinfo=dt.timezone.utc).timestamp() + hour * 3600

    case = Case({P0: stamped(P0, second(1, 2.5), second(3, 5.5), second(1, 12.2, month=2))})
    case.target.pin({P0: position})
    now = at(second(1, 12.5, month=2))
    state, _ = seen(case, now)
    case.metadata.requests = 0
    stream = dataclasses.replace(case.stream, window_start=at(second(1, 0)))
    assert oldest_window(state, stream, case.metadata, now=now) == window
    assert case.metadata.requests < 12
