"""The sample messages: the same for the same seed, good ones become rows, bad ones dead letters, of every kind."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from itertools import islice

import pytest

from kafka_ingest.cli.samples.dates import DATE_FORMS, write_date
from kafka_ingest.cli.samples.messages import BAD_KINDS, SampleMessage, sample_messages
from kafka_ingest.streams.information import Announcement, Information
from kafka_ingest.streams.target import TargetTable
from kafka_ingest_tests.cli.slices import run_messages

STAGES = {
    "broken_json": {"decode"},
    "not_utf8": {"decode"},
    "utf_16": {"decode"},
    "empty_value": {"decode"},
    "tombstone": {"route"},
    "not_an_object": {"decode", "route"},
    "unknown_type": {"route"},
    "missing_type": {"route"},
    "type_not_text": {"route"},
    "wrong_field_type": {"decode", "dates"},
    "missing_field": {"validate"},
    "unreadable_date": {"dates"},
    "too_long": {"validate"},
    "too_deep": {"decode"},
    "huge_number": {"validate", "dates"},
    "lone_surrogate": {"decode"},
}


def take(seed: int, bad_ratio: float, count: int) -> list[SampleMessage]:
    return list(islice(sample_messages(seed, bad_ratio), count))


def test_the_same_seed_gives_the_same_messages_and_another_seed_others() -> None:
    assert take(7, 0.1, 500) == take(7, 0.1, 500)
    assert take(7, 0.1, 500) != take(8, 0.1, 500)


@pytest.mark.parametrize("seed", [0, 1, 2026])
def test_every_good_message_becomes_a_row_and_every_bad_one_a_dead_letter(seed: int) -> None:
    messages = take(seed, 0.3, 3_000)
    parsed = run_messages(messages)
    rows = {int(n) for frame in parsed.rows.values() for n in frame.index}
    letters = {letter.number: letter for letter in parsed.dead_letters}
    assert {n for n, m in enumerate(messages) if m.bad is None} == rows
    assert {n for n, m in enumerate(messages) if m.bad is not None} == set(letters)
    for number, message in enumerate(messages):
        if message.bad is not None:
            assert letters[number].stage in STAGES[message.bad], (message.bad, letters[number])


def test_the_route_of_a_good_message_is_the_table_it_ends_in() -> None:
    messages = take(3, 0.0, 1_000)
    parsed = run_messages(messages)
    for name, model in (("information", Information), ("announcement", Announcement)):
        rows = parsed.rows[TargetTable.of(model)]
        assert {n for n, m in enumerate(messages) if m.route == name} == {int(n) for n in rows.index}


def test_all_kinds_of_badness_come_up_about_equally_often_and_about_as_often_as_asked() -> None:
    kinds = Counter(m.bad for m in take(1, 0.03, 20_000) if m.bad is not None)
    assert set(kinds) == set(BAD_KINDS) == set(STAGES)
    assert 500 < sum(kinds.values()) < 700
    assert max(kinds.values()) - min(kinds.values()) <= 1


def test_a_ratio_of_nothing_and_of_everything() -> None:
    assert all(m.bad is None for m in take(1, 0.0, 200))
    assert all(m.bad is not None for m in take(1, 1.0, 200))


def test_corrections_of_announcements_keep_id_and_key() -> None:
    good = [m for m in take(4, 0.03, 5_000) if m.bad is None and m.route == "announcement"]
    ids = [json.loads(m.value or b"")["id"] for m in good]
    assert len(set(ids)) < len(ids)
    assert [m.key for m in good] == [i.encode() for i in ids]


def test_the_good_ones_have_many_languages_unread_fields_and_duplicate_keys() -> None:
    text = b"".join(m.value or b"" for m in take(5, 0.0, 2_000))
    for part in (
        "净利润",
        "الشركة",
        "🚀",
        "プ" if "プ".encode() in text else "電機",
        '\\"transformation\\"',
        "an earlier value of a duplicate key",
    ):
        assert part.encode() in text
    assert b'"tracking"' in text


@pytest.mark.parametrize("form", DATE_FORMS)
def test_every_date_form_is_read_back_to_the_instant_it_was_written_from(form: str) -> None:
    instant = dt.datetime(2026, 7, 9, 4, 5, 6, 789_000, tzinfo=dt.timezone.utc)
    value, kept = write_date(form, instant)
    fields = {"type": "information", "id": "1", "title": "t", "publishTime": value}
    parsed = run_messages([SampleMessage(None, json.dumps(fields).encode(), [], "information", None)])
    stored = parsed.rows[TargetTable.of(Information)]["publish_time"].iloc[0]
    assert stored.to_pydatetime() == kept.replace(tzinfo=None)
    assert dt.timedelta(0) <= instant - kept < dt.timedelta(minutes=1)
