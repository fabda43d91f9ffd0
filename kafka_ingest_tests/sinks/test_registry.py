"""Sinks that installed packages bring, found by their entry points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.registry import backends, local_server, open_sink, sink_factory, sink_kind
from kafka_ingest.sinks.sqlite.sink import SQLiteSink

Install = Callable[..., None]

SINK = """
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
class OracleSink(SQLiteSink):
    kind = "oracle"
    def __init__(self, url):
        super().__init__(url.set(drivername="sqlite"))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts packages on the path that have an entry point of the group, as pip does."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(name: str, backend: str, value: str, *, extra: str | None = None) -> None:
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        (folder / "METADATA").write_text("\n".join([*lines, *([f"Provides-Extra: {extra}"] if extra else [])]) + "\n")
        (folder / "entry_points.txt").write_text(f"[kafka_ingest.sinks]\n{backend} = {value}\n")
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(SINK)

    return installed


def test_an_installed_package_brings_a_sink(install: Install) -> None:
    install("oracle-sink", "oracle", "oracle_sink:OracleSink")
    assert "oracle" in backends()
    sink = open_sink(sa.make_url("oracle:///file.db"))
    assert (type(sink).__name__, sink_kind("oracle"), local_server("oracle")) == ("OracleSink", "oracle", None)


def test_an_installed_package_may_take_the_place_of_a_sink_of_ours(install: Install) -> None:
    assert sink_factory("sqlite") is SQLiteSink
    install("better-sqlite", "sqlite", "better_sqlite:OracleSink")
    assert sink_factory("sqlite") is not SQLiteSink


def test_two_packages_for_one_backend_are_refused_with_both_names(install: Install) -> None:
    install("one-sink", "oracle", "one_sink:OracleSink")
    install("two-sink", "oracle", "two_sink:OracleSink")
    with pytest.raises(
        ConfigError, match="one_sink:OracleSink of one-sink, two_sink:OracleSink of two-sink; uninstall"
    ):
        sink_factory("oracle")


@pytest.mark.parametrize("value", ["missing_module:Sink", "broken_sink:Nothing"])
def test_what_cannot_be_imported_is_a_config_error_that_says_what_to_install(install: Install, value: str) -> None:
    install("broken-sink", "oracle", value, extra="oracle")
    with pytest.raises(ConfigError, match=r"cannot be imported: .*; run pip install 'broken-sink\[oracle\]'") as caught:
        open_sink(sa.make_url("oracle://u:hunter2@h/d"))
    assert "hunter2" not in str(caught.value)
