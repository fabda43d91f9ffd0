"""`kafka-ingest find` as a person and a program see it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kafka_ingest.cli import find as find_module
from kafka_ingest.cli.main import cli
from kafka_ingest.sinks.base import Sink
from kafka_ingest.testing.messages import Msg
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.cluster import FakeMetadata
from kafka_ingest_tests.support.searched import Searched

NASTY = "\x1b[31m`|<b>\u202e"


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Searched:
    found = Searched(monkeypatch, replace(MIXED, max_dead_letter_ratio=1.0))
    known = {"mixed": found.stream, "second": replace(found.stream, name="second", group_id="second")}

    @contextmanager
    def open_clients(_settings: object) -> Iterator[tuple[FakeMetadata, Sink]]:
        yield found.metadata, found.target.sink

    monkeypatch.setattr(find_module, "streams_named", lambda name: known if name is None else {name: known[name]})
    monkeypatch.setattr(find_module, "open_clients", open_clients)
    monkeypatch.setenv("KAFKA_INGEST_DAGSTER_URL", "http://ui")
    found.send(
        Msg({"type": "account", "id": "k1", "balance": 1}, b"k1"),
        Msg({"type": "account", "id": "k1", "balance": 2}, b"k1"),
        Msg({"type": NASTY}, NASTY.encode()),
        Msg({"type": "event", "name": "a"}, b"\x00\xff"),
        Msg({"type": "account", "id": NASTY[:8], "balance": 1}, b"nasty"),
    )
    found.load(run_id="first")
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["find", "mixed", *arguments, "--stream", "mixed"])


def test_the_command_says_what_became_of_each_message_with_its_run(topic: Searched) -> None:
    done = run("k1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "mixed[0]@0 superseded by mixed[0]@1, the later message of its key",
        '  Kafka timestamp 2026-01-01 07:00:00.000000 UTC, message key "k1"',
        "  table t_account, key id=k1",
        "  loaded 2026-01-01 08:00:00 UTC: live load of offsets [0,5), 4 rows, 1 dead letters",
        "         run first, window 2026-01-01-07:00",
        "         http://ui/runs/first",
        "mixed[0]@1 a row of table t_account",
        '  Kafka timestamp 2026-01-01 07:00:01.000000 UTC, message key "k1"',
        "  table t_account, key id=k1",
        "  loaded 2026-01-01 08:00:00 UTC: live load of offsets [0,5), 4 rows, 1 dead letters",
        "         run first, window 2026-01-01-07:00",
        "         http://ui/runs/first",
    ]
    assert "run: kafka-ingest dead-letters show 1" in run("2").stdout
    assert "message key 0x00ff" in run("0x00ff").stdout
    assert "2 messages match; these are the newest of them (--limit)" in run("k1", "--limit", "1").stdout


def test_nothing_in_a_message_acts_on_the_terminal(topic: Searched) -> None:
    for text in ("0:2", NASTY, "nasty"):
        done = run(text)
        assert done.exit_code == 0, done.output
        assert all(line.isprintable() for line in done.stdout.splitlines())
        assert "\\x1b" in done.stdout


def test_json_is_one_array_with_an_object_for_each_stream(topic: Searched) -> None:
    done = CliRunner().invoke(cli, ["find", "mixed", "id=k1", "--json"])
    first, second = json.loads(done.stdout)
    assert (first["stream"], second["stream"]) == ("mixed", "second")
    assert [each["fate"] for each in first["found"]] == ["superseded", "row"]
    assert [each["fate"] for each in second["found"]] == ["waiting", "waiting"]
    assert first["found"][1]["loads"][0]["run_url"] == "http://ui/runs/first"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_where_nothing_is_found_the_exit_code_is_1_and_what_was_searched_is_said(
    topic: Searched, options: list[str]
) -> None:
    done = run("name=nobody", "--last", "2", *options)
    assert done.exit_code == 1
    assert 'No message was found with field name = "nobody". Searched: mixed[0]@[3,5), 2 messages' in done.stderr
    assert (json.loads(done.stdout)[0]["found"] if options else done.stdout) in ([], "")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["nowhere", "k1"], "no stream reads a topic 'nowhere'; topics: mixed, mixed2"),
        (["mixed", "7:1"], "topic 'mixed' has no partition 7"),
        (["mixed", "mixed2[0]@1"], "a position in topic mixed2"),
        (["mixed", "k1", "--as", "offset"], "'k1' is no offset: write N"),
        (["mixed", "k1", "--from", "soon"], "--from is 'soon'; it must be a time such as"),
        (["mixed2", "k1"], "topic 'mixed2' does not exist"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_what_can(topic: Searched, arguments: list[str], refusal: str) -> None:
    done = CliRunner().invoke(cli, ["find", *arguments, "--json"])
    assert done.exit_code == 1
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert (error["type"], refusal in error["message"]) == ("ConfigError", True), error
