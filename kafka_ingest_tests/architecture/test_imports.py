"""The import graph is read as the source says it: when each import is carried out, and of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_ingest_tests.architecture.imports import (
    When,
    circles,
    imports_of,
    own_imports,
    read_modules,
    without_detours,
)

FIRST = '''
"""A module of every kind of import."""
from typing import TYPE_CHECKING

import json
from house.rooms import second, NAME

if TYPE_CHECKING:
    from house.rooms.third import Third
else:
    import house.fourth

TABLE = {"fifth": "house.fifth:Fifth", "nobody": "house.nobody:Nobody", "text": "house.fifth"}


class Later:
    def call(self) -> None:
        import house.fifth
'''


@pytest.fixture
def house(tmp_path: Path) -> Path:
    package = tmp_path / "house"
    (package / "rooms").mkdir(parents=True)
    for name in ("__init__", "rooms/__init__", "rooms/second", "rooms/third", "fourth", "fifth"):
        (package / f"{name}.py").touch()
    (package / "first.py").write_text(FIRST)
    return package


def test_imports_are_told_apart_by_when_they_are_carried_out(house: Path) -> None:
    assert [(i.imported, i.when) for i in own_imports(read_modules(house))] == [
        ("house.rooms.second", When.LOADING),
        ("house.rooms", When.LOADING),
        ("house.rooms.third", When.TYPING),
        ("house.fourth", When.LOADING),
        ("house.fifth", When.BY_NAME),
        ("house.fifth", When.CALLED),
    ]


def test_imports_of_other_packages_are_seen_too(house: Path) -> None:
    modules = read_modules(house)
    assert {"json", "typing"} <= {i.imported for i in imports_of(modules["house.first"], modules)}


def test_a_relative_import_is_refused_with_its_place(house: Path) -> None:
    (house / "rooms" / "third.py").write_text("from . import second\n")
    with pytest.raises(
        ValueError, match=r"house\.rooms\.third, line 1: a relative import; write the module's full name"
    ):
        own_imports(read_modules(house))


def test_a_circle_is_named_with_all_that_stand_in_it() -> None:
    arrows = [("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e"), ("e", "d"), ("x", "a")]
    assert circles(arrows) == [("a", "b", "c"), ("d", "e")]


def test_an_arrow_stays_where_no_longer_way_stands_for_it() -> None:
    arrows = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("c", "d"), ("a", "e")}
    assert without_detours(arrows) == {("a", "b"), ("b", "c"), ("c", "d"), ("a", "e")}
