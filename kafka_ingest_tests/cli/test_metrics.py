"""`kafka-ingest metrics`: what is printed and served is what Prometheus reads."""

from __future__ import annotations

import importlib.util
import re
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from kafka_ingest.checks.metric_families import (
    FAMILIES,
    LAG,
    MISSING_TOPICS,
    OFFSETS,
    PARTITION_LAG,
    ROWS,
    UP,
    Sample,
)
from kafka_ingest.cli import metrics as command
from kafka_ingest.cli.main import cli
from kafka_ingest.cli.metrics import ListenType
from kafka_ingest.cli.metrics_server import exposition, serve
from kafka_ingest.errors import ConfigError, KafkaUnavailable
from kafka_ingest_tests.support.world import STREAM, World, first_five

SECONDS = 60.0
HOSTILE = ['a"b', "a\\", "a\nb", 'x"} 1\nkafka_ingest_up{stream="y', "ü 新闻", "\r", "\\n", ""]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path, monkeypatch)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", found.url)
    monkeypatch.setattr("kafka_ingest.cli.clients.KafkaMetadata", lambda _settings: found.metadata)
    monkeypatch.setattr(command, "streams_named", lambda _name: {STREAM.name: STREAM})
    return found


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels, in the order of their names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_once_prints_what_prometheus_reads(world: World) -> None:
    first_five(world.run())
    result = CliRunner().invoke(cli, ["metrics", "--once"])
    assert (result.exit_code, result.stderr) == (0, "")
    found = parsed(result.stdout)
    assert found["kafka_ingest_up", "mixed"] == 1
    assert found["kafka_ingest_lag_offsets", "mixed"] == 15
    assert found["kafka_ingest_offsets_total", "live", "row", "mixed"] == 5
    assert found["kafka_ingest_partition_log_end_offset", "0", "mixed", "mixed"] == 12
    without = parsed(CliRunner().invoke(cli, ["metrics", "--once", "--no-partitions"]).stdout)
    assert without.keys() == {key for key in found if "_partition_" not in key[0]}


def test_each_metric_has_its_kind_and_its_text(world: World) -> None:
    families = {
        f.name: f for f in text_string_to_metric_families(CliRunner().invoke(cli, ["metrics", "--once"]).stdout)
    }
    assert len(families) > 10
    declared = {f.name.removesuffix("_total"): f for f in FAMILIES}
    for name, found in families.items():
        assert (found.type, found.documentation) == (declared[name].kind, declared[name].text)


def test_a_look_that_fails_is_down_alone_and_says_why_without_a_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "broker-s3cret")

    def silent(*_arguments: object) -> Any:
        raise KafkaUnavailable("no answer to broker-s3cret")

    monkeypatch.setattr(world.metadata, "watermarks", silent)
    result = CliRunner().invoke(cli, ["metrics", "--once"])
    assert result.exit_code == 1
    assert parsed(result.stdout) == {("kafka_ingest_up", "mixed"): 0}
    assert result.stderr == "stream mixed: KafkaUnavailable: no answer to ***\n"


def test_dagster_is_looked_at_where_it_has_a_home(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    found = parsed(CliRunner().invoke(cli, ["metrics", "--once"]).stdout)
    assert found["kafka_ingest_dagster_up",] == 1
    assert found["kafka_ingest_runs", "failure", "mixed"] == 0
    monkeypatch.setenv("DAGSTER_HOME", "not/absolute")
    result = CliRunner().invoke(cli, ["metrics", "--once"])
    assert result.exit_code == 75
    assert "cannot read Dagster's storage in DAGSTER_HOME" in result.stderr


def test_without_the_library_it_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = CliRunner().invoke(cli, ["metrics"])
    assert result.exit_code == 1
    assert "pip install 'kafka-ingest[metrics]'" in result.stderr


@pytest.mark.parametrize("name", HOSTILE)
def test_a_label_is_read_as_it_is_whatever_stands_in_it(name: str) -> None:
    samples = [
        PARTITION_LAG.sample("s", name, "0", value=1),
        ROWS.sample("s", name, "live", value=2),
        UP.sample("s", value=0),
    ]
    text = exposition(lambda: samples)
    assert parsed(text) == {
        ("kafka_ingest_partition_lag_offsets", "0", "s", name): 1,
        ("kafka_ingest_rows_total", "live", "s", name): 2,
        ("kafka_ingest_up", "s"): 0,
    }
    lines = re.split(r"\n", text)
    assert len(lines) == 3 * 3 + 1  # HELP, TYPE and one value each


@pytest.mark.parametrize("number", [0, 1, 2**53 - 1, 9_007_199_254_740_993, 1_767_250_800.123456])
def test_numbers_keep_their_value_as_far_as_a_double_holds_them(number: float) -> None:
    text = exposition(lambda: [OFFSETS.sample("s", "live", "row", value=number)])
    assert parsed(text) == {("kafka_ingest_offsets_total", "live", "row", "s"): float(number)}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),  # noqa: S104  only where a person says so
        ("metrics.example:80", ("metrics.example", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, where: tuple[str, int]) -> None:
    assert ListenType().convert(text, None, None) == where


@pytest.mark.parametrize("text", ["", "9464", ":9464", "h:", "h:x", "h:65536", "h:-1", "h:²", "[::1:80", "[]:80"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"127\.0\.0\.1:9464"):
        ListenType().convert(text, None, None)


def test_nobody_else_sees_it_unless_asked() -> None:
    option = next(p for p in command.metrics.params if p.name == "listen")
    assert option.default == "127.0.0.1:9464"


class Served:
    """A server in a thread of its own. The thread ends with the process: only Ctrl-C ends a server."""

    def __init__(self, look: Callable[[], list[Sample]], host: str = "127.0.0.1") -> None:
        self._ready = threading.Event()
        self.url = ""
        threading.Thread(
            target=serve, args=(look, host, 0), kwargs={"ready": self._note}, daemon=True, name="served"
        ).start()
        assert self._ready.wait(SECONDS)

    def _note(self, text: str) -> None:
        self.url = text.split()[2].removesuffix(";")
        self._ready.set()

    def get(self, query: str = "") -> str:
        with urllib.request.urlopen(self.url + query, timeout=SECONDS) as answer:  # noqa: S310  our own server's
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            return str(answer.read().decode())


def test_each_scrape_looks_and_the_first_look_is_before_the_address_is_told() -> None:
    looks = []

    def look() -> list[Sample]:
        looks.append(1)
        return [LAG.sample("s", value=len(looks)), MISSING_TOPICS.sample("s", value=0)]

    served = Served(look)
    assert looks == [1]
    assert parsed(served.get())["kafka_ingest_lag_offsets", "s"] == 2
    assert parsed(served.get()) == {("kafka_ingest_lag_offsets", "s"): 3, ("kafka_ingest_missing_topics", "s"): 0}
    assert parsed(served.get("?name[]=kafka_ingest_lag_offsets")) == {("kafka_ingest_lag_offsets", "s"): 4}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_scraper_that_asks_for_openmetrics_as_prometheus_does_gets_it(name: str) -> None:
    samples = [PARTITION_LAG.sample("s", name, "0", value=1), ROWS.sample("s", name, "live", value=2)]
    served = Served(lambda: samples)
    asked = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3"}
    with urllib.request.urlopen(urllib.request.Request(served.url, headers=asked), timeout=SECONDS) as answer:  # noqa: S310  as above
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        families = list(openmetrics_families(answer.read().decode()))  # type: ignore[no-untyped-call]
    found = [(s.name, s.labels, s.value) for family in families for s in family.samples]
    assert found == [
        ("kafka_ingest_rows_total", {"stream": "s", "table": name, "kind": "live"}, 2),
        ("kafka_ingest_partition_lag_offsets", {"stream": "s", "topic": name, "partition": "0"}, 1),
    ]


def test_a_client_that_sends_nothing_keeps_no_other_from_an_answer() -> None:
    served = Served(lambda: [UP.sample("s", value=1)])
    port = int(served.url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)):
        assert parsed(served.get()) == {("kafka_ingest_up", "s"): 1}


def test_an_address_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match=r"--listen"):
        serve(list, "127.0.0.1", taken.getsockname()[1], ready=lambda _text: None)
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host\.invalid:0"):
        serve(list, "no.such.host.invalid", 0, ready=lambda _text: None)
