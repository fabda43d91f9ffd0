"""What the table of floors allows and what it forbids."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from kafka_ingest_tests.architecture.floors import NoRoom, forbidden, place_of
from kafka_ingest_tests.architecture.imports import Module


def module(path: str) -> Module:
    return Module(path, PurePosixPath(path), "x = 1\n")


def reason(importer: str, imported: str) -> str | None:
    return forbidden(place_of(module(importer)), place_of(module(imported)))


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("engine/plan.py", "kafka/reader.py"),
        ("engine/plan.py", "engine/loss.py"),
        ("cli/doctor/kafka.py", "errors.py"),
        ("sinks/mysql/sink.py", "sinks/base.py"),
        ("sinks/mysql/sink.py", "local/database.py"),
        ("redaction.py", "settings.py"),
        ("definitions.py", "orchestration/build.py"),
    ],
)
def test_downward_within_a_room_and_beside_where_it_is_said(importer: str, imported: str) -> None:
    assert reason(importer, imported) is None


@pytest.mark.parametrize(
    ("importer", "imported", "why"),
    [
        ("streams/stream.py", "pipelines/tombstones.py", "pipelines is on floor 2, streams on floor 1"),
        ("kafka/reader.py", "sinks/base.py", "kafka and sinks stand side by side on floor 4"),
        ("sinks/base.py", "sinks/mysql/sink.py", "sinks and sinks/mysql stand side by side on floor 4"),
        ("sinks/sqlite/sink.py", "sinks/mysql/types.py", "sinks/sqlite and sinks/mysql stand side by side on floor 4"),
        ("backfill/dry_run.py", "checks/trace.py", "backfill and checks stand side by side on floor 6"),
        ("errors.py", "settings.py", "errors.py and settings.py stand side by side on floor 0"),
        ("local/database.py", "settings.py", "local and settings.py stand side by side on floor 0"),
        ("engine/plan.py", "local/kafka.py", "local is for sinks, sinks/*, cli only"),
    ],
)
def test_upward_and_beside_are_forbidden_with_the_reason(importer: str, imported: str, why: str) -> None:
    assert reason(importer, imported) == why


def test_the_room_is_the_longest_path_that_holds_the_module() -> None:
    assert place_of(module("sinks/load.py")).room == "sinks"
    assert place_of(module("sinks/mysql/__init__.py")).room == "sinks/mysql"
    assert place_of(module("sinks/postgresql/sink.py")).entry.path == "sinks/*"
    assert place_of(module("__init__.py")).room == "__init__.py"


def test_a_module_of_before_the_floors_has_the_room_it_moved_to() -> None:
    assert place_of(module("records.py")).room == "slices.py"


def test_a_module_in_no_room_is_named_with_what_to_do() -> None:
    with pytest.raises(NoRoom, match=r"attic/box\.py is in no room: give it one in .*FLOORS, or move it into one of"):
        place_of(module("attic/box.py"))
