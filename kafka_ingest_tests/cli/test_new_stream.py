"""`kafka-ingest new-stream` as a person and a program see it, over a topic in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kafka_ingest.cli.main import cli
from kafka_ingest.cli.new_stream import command
from kafka_ingest.cli.new_stream.place import module_place
from kafka_ingest.errors import ConfigError
from kafka_ingest.proposal import sampling
from kafka_ingest.slices import TopicPartition
from kafka_ingest_tests.proposal.test_drift import STREAM
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, FakeMetadata, Log

NASTY = "\x1b[31m\u202e"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without a stream, and a topic `orders` of 120 messages."""
    tp = TopicPartition("orders", 0)
    bodies = [{"id": f"A-{n}", "total": n / 4, "note": NASTY, "gone": None} for n in range(119)]
    messages = [json.dumps(body).encode() for body in bodies] + [b"no json"]
    logs = {tp: Log({n: FakeMessage(tp, n, body) for n, body in enumerate(messages)}, 120)}
    logs[TopicPartition("empty", 0)] = Log({}, 0)
    monkeypatch.setattr(sampling, "open_consumer", lambda *_arguments, **_options: FakeConsumer(logs))
    monkeypatch.setattr(command, "KafkaMetadata", lambda _settings: FakeMetadata(logs))
    for name in ("KAFKA_INGEST_STREAMS", "KAFKA_INGEST_DATABASE_URL", "SCHEMA_REGISTRY_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "src/mall/streams").mkdir(parents=True)
    (tmp_path / "src/mall/streams/__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["new-stream", *arguments])


def test_the_module_is_written_and_what_it_would_load_is_shown_and_what_to_do_next(project: Path) -> None:
    done = run("orders", "--topic", "orders")
    assert done.exit_code == 0, done.output
    text = (project / "src/mall/streams/orders.py").read_text()
    assert 'STREAM = Stream(\n    name="orders",' in text
    assert "table orders: a row for each key (id is different in each of 119 messages)" in done.stdout
    assert "A-0" in done.stdout
    assert "Of 120 messages: rows 119 of orders; 1 dead letters (0.83%)" in done.stdout
    assert "1 decode: not JSON" in done.stdout
    assert "without gone: null in all messages" in done.stdout
    assert "Nothing was loaded. Wrote src/mall/streams/orders.py" in done.stdout
    assert "KAFKA_INGEST_STREAMS=mall.streams" in done.stdout
    assert "kafka-ingest ingest orders --until-caught-up" in done.stdout


def test_nothing_in_a_message_acts_on_the_terminal_or_in_an_editor(project: Path) -> None:
    done = run("orders", "--topic", "orders")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert all(line.isprintable() for line in (project / "src/mall/streams/orders.py").read_text().splitlines())


def test_json_is_one_object_with_the_module_and_where_it_is(project: Path) -> None:
    found = json.loads(run("orders", "--topic", "orders", "--json").stdout)
    assert found["path"] == str(project / "src/mall/streams/orders.py")
    assert found["module"] == Path(found["path"]).read_text()
    (model,) = found["models"]
    assert [(column["name"], column["type"], column["key"]) for column in model["columns"]] == [
        ("id", "String(16)", True),
        ("total", "Numeric(18, 4)", False),
        ("note", "String(16)", False),
    ]
    assert model["first_rows"][0]["id"] == "A-0"
    assert found["outcomes"]["reasons"][0]["position"] == "orders[0]@119"
    assert found["next"][-1] == "kafka-ingest new-stream orders --check"


def test_a_module_that_is_there_is_written_over_only_when_that_is_meant(project: Path) -> None:
    file = project / "src/mall/streams/orders.py"
    file.write_text("mine")
    done = run("orders", "--topic", "orders")
    assert done.exit_code == 1
    assert "is there already, and nothing is written over; --force writes over it" in done.stderr
    assert file.read_text() == "mine"
    assert run("orders", "--topic", "orders", "--force").exit_code == 0
    assert "STREAM" in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["orders", "--topic", "nowhere"], "topic 'nowhere' does not exist"),
        (["orders", "--topic", "empty"], "topic 'empty' is empty, so nothing says what its messages are"),
        (["class", "--topic", "orders"], "stream name 'class' is none that a module of Python may have"),
        (["my-orders", "--topic", "orders"], "stream name 'my-orders' is none"),
        (["orders", "--topic", "orders", "--table", "t"], "KAFKA_INGEST_DATABASE_URL is not set"),
        (["orders", "--topic", "orders", "--subject", "s"], "SCHEMA_REGISTRY_URL is not set"),
        (["orders", "--check"], "no stream is named 'orders'"),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_cannot_be_done_is_said_in_a_sentence_and_nothing_is_written(arguments: list[str], refusal: str) -> None:
    done = run(*arguments, "--json")
    assert done.exit_code == 1
    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert refusal in error["message"]
    assert list(Path("src/mall/streams").iterdir()) == [Path("src/mall/streams/__init__.py")]


@pytest.mark.parametrize(
    "arguments", [["orders"], ["orders", "--check", "--topic", "orders"], ["orders", "--sample", "0"]]
)
@pytest.mark.usefixtures("project")
def test_arguments_that_do_not_go_together_are_refused(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_the_check_of_a_declared_stream_says_what_it_finds_and_exits_with_1_where_something_has_drifted(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = replace(STREAM, topics="orders", routes={"orders": STREAM.routes["things"]})
    monkeypatch.setattr(command, "streams_named", lambda name: {name: stream})
    done = run("drifting", "--check")
    assert done.exit_code == 1
    assert "stream drifting: 120 messages looked at, 120 would be dead letters (100.00%)" in done.stdout
    assert "Stream drifting has drifted from its topic or its tables" in done.stderr
    found = json.loads(run("drifting", "--check", "--json").stdout)
    assert found["drifted"] is True
    assert {each["what"] for each in found["findings"]} == {"dead_letters"}


def test_the_place_is_the_package_that_the_setting_names(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_mall").mkdir()
    (tmp_path / "other_mall/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("KAFKA_INGEST_STREAMS", "kafka_ingest.streams, other_mall")
    assert module_place("orders", project).file == tmp_path / "other_mall/orders.py"
    monkeypatch.setenv("KAFKA_INGEST_STREAMS", "nowhere")
    with pytest.raises(ConfigError, match="KAFKA_INGEST_STREAMS is nowhere, and none of it is a package"):
        module_place("orders", project)
    monkeypatch.delenv("KAFKA_INGEST_STREAMS")
    with pytest.raises(ConfigError, match="no package of streams was found"):
        module_place("orders", tmp_path / "src")
