"""`kafka-ingest dead-letters`: list, show, replay, on a database alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from kafka_ingest.cli import options
from kafka_ingest.cli.dead_letters_view import pretty
from kafka_ingest.cli.main import cli
from kafka_ingest.cli.terminal import hexdump, safe_text
from kafka_ingest.engine.replay import replay
from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import Account, Event
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.letters import FIXED, NO_ROUTES, account, dump, event, kept

NASTY = "\x1b]0;owned\x07\u202e\u200b\x9b31m\u2028"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A database with seven dead letters, and the stream that would take four of them."""
    url = f"sqlite:///{tmp_path}/letters.db"
    target = Target(FIXED, SQLiteSink(sa.make_url(url)))
    headers: list[tuple[str, bytes | None]] = [("trace", b"\x00\xff"), ("none", None), (NASTY, NASTY.encode())]
    raw = raw_slice(
        Part(
            [
                Msg(event("a"), b"key", headers),
                Msg(b"\xff\x00\x1b[31m", b"\xff"),
                Msg(None, b"y"),
                Msg({"type": NASTY, "name": "b"}),
                Msg(account("x", 1)),
                Msg(event("bad", 13)),
            ]
        ),
        Part([Msg(event("c"))], partition=1),
    )
    target.pin({r.topic_partition: r.start for r in raw.ranges})
    target.load(raw, stream=NO_ROUTES)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", url)
    use(monkeypatch, FIXED)
    yield target
    target.sink.close()


def use(monkeypatch: pytest.MonkeyPatch, *streams: Stream) -> None:
    declared = {stream.name: stream for stream in streams}
    monkeypatch.setattr(options, "declared_streams", lambda: declared)


def run(*arguments: str, answer: str | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["dead-letters", *arguments], input=answer)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def listed(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("list", "--json", *arguments).stdout)
    return found


def assert_harmless(text: str) -> None:
    assert not [c for c in text if c != "\n" and safe_text(c) != c]


def test_the_list_names_each_letter_and_counts_all(target: Target) -> None:
    text = run("list", "--limit", "2").stdout
    assert "mixed[1]@0" in text
    assert "2 of 7" in text
    assert_harmless(run("list").stdout)


def test_a_list_for_programs_has_every_field_but_the_bytes(target: Target) -> None:
    found = listed()
    assert found["total"] == 7
    first = found["dead_letters"][-1]
    assert {k: first[k] for k in ("stream", "topic", "partition", "offset", "stage", "status", "key_bytes")} == {
        "stream": "mixed",
        "topic": "mixed",
        "partition": 0,
        "offset": 0,
        "stage": "route",
        "status": "waiting",
        "key_bytes": 3,
    }
    assert first["kafka_timestamp"] == "2026-01-01T07:00:00+00:00"
    assert first["value_bytes"] == len(json.dumps(event("a")))
    assert "value" not in first


@pytest.mark.parametrize(
    ("arguments", "offsets"),
    [
        (["--partition", "1"], [0]),
        (["--offset", "2"], [2]),
        (["--offset", "1-3"], [2, 1]),
        (["--stage", "decode"], [1]),
        (["--route", "account"], [4]),
        (["--error", "tombstone", "--stream", "mixed"], [2]),
        (["--topic", "mixed2"], []),
        (["--from", "2026-01-01T08:00Z", "--to", "2026-01-01T08:00:01Z", "--partition", "1"], [0]),
        (["--to", "2026-01-01T08:00Z"], []),
        (["--time", "kafka", "--from", "2026-01-01 15:00:04+08:00", "--to", "2026-01-01 07:00:05"], [4]),
        (["--status", "replayed"], []),
        (["--status", "all", "--limit", "1"], [0]),
    ],
)
def test_filters(target: Target, arguments: list[str], offsets: list[int]) -> None:
    assert [letter["offset"] for letter in listed(*arguments)["dead_letters"]] == offsets


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--offset", "x"], "neither an offset nor START-END"),
        (["--offset", "5-5"], "the end is exclusive"),
        (["--stage", "unheard"], "is not one of"),
        (["--from", "yesterday"], "--from is 'yesterday'"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "has to be before"),
        (["--partition", "-1"], "-1"),
    ],
)
def test_wrong_filters_are_said(target: Target, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(cli, ["dead-letters", "list", *arguments])
    assert result.exit_code != 0
    assert said in result.output


def test_the_summary_counts_by_stage_and_error(target: Target) -> None:
    groups = listed("--summary")["groups"]
    assert groups[0] == {
        "stream": "mixed",
        "stage": "route",
        "error": "no route for type 'event'; the stream has other",
        "letters": 3,
    }
    assert sum(g["letters"] for g in groups) == 7
    text = run("list", "--summary").stdout
    assert "7 dead letters" in text
    assert_harmless(text)


def test_an_empty_database_has_no_dead_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    use(monkeypatch, FIXED)
    assert run("list").stdout == "No dead letters (waiting).\n"
    assert listed() == {"total": 0, "dead_letters": []}
    assert run("replay", "--yes").stdout == "No dead letters to replay.\n"
    assert "there is no dead letter 7" in run("show", "7", code=1).output


def test_show_tells_everything_about_a_letter(target: Target) -> None:
    text = run("show", "mixed[0]@0").stdout
    for part in ("of stream mixed, mixed[0]@0", "no route for type 'event'", "key: 3 bytes", "  trace: 00 ff (hex)"):
        assert part in text
    assert '  {\n    "type": "event",\n    "name": "a"' in text
    assert "  none: (null)" in text
    assert_harmless(text)
    assert run("show", "1").stdout == text


@pytest.mark.parametrize("offset", range(6))
def test_nothing_a_message_holds_reaches_the_terminal_as_it_is(target: Target, offset: int) -> None:
    assert_harmless(run("show", f"mixed[0]@{offset}").stdout)


def test_show_for_programs_gives_the_bytes_back(target: Target) -> None:
    for letter in kept(target):
        found = json.loads(run("show", "--json", str(letter.id)).stdout)
        assert bytes_of(found["value"]) == letter.value
        assert bytes_of(found["key"]) == letter.key
        assert [(n, bytes_of(v)) for n, v in found["headers"]] == list(letter.headers or ())


def bytes_of(found: Mapping[str, str] | None) -> bytes | None:
    return None if found is None else base64.b64decode(found["base64"])


def test_raw_writes_the_original_bytes_and_nothing_else(target: Target) -> None:
    for letter in kept(target):
        if letter.value is not None:
            assert run("show", "--raw", letter.position).stdout_bytes == letter.value
    assert "tombstone" in run("show", "--raw", "mixed[0]@2", code=1).output


def test_a_position_two_streams_share_asks_for_the_stream(target: Target) -> None:
    other = Target(replace(NO_ROUTES, name="other"), target.sink)
    raw = raw_slice(Part([Msg(event("a"))]))
    other.pin({r.topic_partition: 0 for r in raw.ranges})
    other.load(raw)
    assert "name one with --stream" in run("show", "mixed[0]@0", code=1).output
    assert "of stream other" in run("show", "mixed[0]@0", "--stream", "other").stdout
    assert "there is no dead letter" in run("show", "mixed[9]@0", code=1).output
    assert "is neither an id nor" in run("show", "mixed", code=2).output


def test_replay_asks_and_does_nothing_without_a_yes(target: Target) -> None:
    before = dump(target)
    result = run("replay", answer="n\n", code=1)
    assert "Replay 7 dead letters?" in result.output
    assert "no route for type 'event'" in result.output
    assert_harmless(result.output)
    assert dump(target) == before


def test_replay_says_what_became_of_each_and_a_second_one_does_nothing(target: Target) -> None:
    text = run("replay", "--yes").stdout
    assert "7 dead letters replayed: 3 rows, 1 deletes, 3 still dead letters (rows: t_account 1, t_event 2)" in text
    assert_harmless(text)
    assert target.rows(Event, "name") == [("a",), ("c",)]
    assert target.rows(Account, "id") == [("x",)]
    rows = (target.rows(Event, "*"), target.rows(Account, "*"))
    again = run("replay", "--yes", "--json")
    (report,) = json.loads(again.stdout)["replays"]
    assert report["outcomes"] == {"row": 0, "delete": 0, "ignored": 0, "dead_letter": 3}
    assert (target.rows(Event, "*"), target.rows(Account, "*")) == rows
    assert "replayed: row" in run("list", "--status", "replayed").stdout
    assert "waiting, tried 2x" in run("list").stdout
    assert "4 of 4" in run("list", "--status", "replayed").stdout


def test_replay_takes_what_the_filters_choose(target: Target) -> None:
    (report,) = json.loads(run("replay", "--yes", "--json", "--partition", "1", "--route", "event").stdout)["replays"]
    assert report["letters"] == [{"id": 7, "position": "mixed[1]@0", "outcome": "row"}]
    assert report["rows_by_table"] == {"t_event": 1}
    assert report["replayed"] == 1
    (report,) = json.loads(run("replay", "--yes", "--json", "--limit", "2").stdout)["replays"]
    assert [letter["id"] for letter in report["letters"]] == [1, 2]


def test_a_dry_run_asks_nothing_and_writes_nothing(target: Target) -> None:
    before = dump(target)
    text = run("replay", "--dry-run").stdout
    assert "would be replayed: 3 rows, 1 deletes, 3 still dead letters" in text
    assert "Nothing was written." in text
    assert "mixed[0]@5" in text
    assert dump(target) == before
    (report,) = json.loads(run("replay", "--dry-run", "--json").stdout)["replays"]
    assert report["dry_run"] is True
    assert {one["position"]: one.get("stage") for one in report["letters"] if one["outcome"] == "dead_letter"} == {
        "mixed[0]@1": "decode",
        "mixed[0]@3": "route",
        "mixed[0]@5": "database",
    }
    assert dump(target) == before


def test_letters_of_topics_a_stream_no_longer_reads_are_named(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, replace(FIXED, topics="other"))
    assert "stream mixed no longer reads topic mixed" in run("replay", "--yes", code=1).output
    assert "no stream is named 'gone'" in run("replay", "--yes", "--stream", "gone", code=1).output


def test_what_was_committed_before_an_error_is_said(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    def two_slices(*arguments: Any, **named: Any) -> Iterator[Any]:
        found = replay(*arguments, **named)
        yield next(found)
        raise ConfigError("trouble")

    monkeypatch.setattr("kafka_ingest.cli.dead_letters.replay", two_slices)
    result = run("replay", "--yes", code=1)
    assert "7 dead letters replayed" in result.output
    assert "trouble" in result.output


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"b":1.100,"a":[10000000000000000000001,{}],"b":null}', "1.100"),
        (b'{"b":1.100,"a":[10000000000000000000001,{}],"b":null}', "10000000000000000000001"),
        (b'{"a":"\\u001b[31m"}', '"\\u001b[31m"'),
        (b"plain \x1b[31m", "plain \\x1b[31m"),
        ("{\u202e".encode(), "{\\u202e"),
        (b"\xff\x1b", "00000000  ff 1b"),
        (b"", ""),
        (b"[" * 5_000, "[[["),
    ],
)
def test_values_are_shown_as_json_text_or_bytes(data: bytes, shown: str) -> None:
    assert shown in pretty(data)
    assert_harmless(pretty(data))


def test_safe_text_keeps_what_prints() -> None:
    assert safe_text("naïve 中文 😀 'q'") == "naïve 中文 😀 'q'"
    assert safe_text("a\x00\x7f\x9b\u202e\ud800\U000e0001\n") == "a\\x00\\x7f\\x9b\\u202e\\ud800\\U000e0001\\x0a"


def test_a_hexdump_has_offsets_bytes_and_text() -> None:
    assert hexdump(b"0123456789abcdef\x00z").split("\n") == [
        "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "00000010  00 7a                                            |.z|",
    ]
