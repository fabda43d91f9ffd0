"""The package keeps its floors: rooms import downward, stages are plain Python, and I/O has its own places."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import kafka_ingest
from kafka_ingest_tests.architecture.floors import (
    BY_NAME,
    INSIDE_FUNCTIONS,
    KNOW_DIALECTS,
    ROOMS,
    place_of,
    places_of,
    upward,
)
from kafka_ingest_tests.architecture.imports import Import, Module, When, circles, imports_of, read_modules
from kafka_ingest_tests.architecture.picture import differing

PACKAGE = Path(kafka_ingest.__file__).parent
ROOT = PACKAGE.parent
MODULES = read_modules(PACKAGE)
FULL = [module for module in MODULES.values() if not module.is_empty]


@cache
def imports() -> list[Import]:
    """All imports of all modules."""
    return [i for module in MODULES.values() for i in imports_of(module, MODULES)]


def own_imports() -> list[Import]:
    return [i for i in imports() if i.imported in MODULES]


def importers(*packages: str) -> set[str]:
    """The rooms that import one of these packages, of whatever origin."""
    return {
        place_of(MODULES[i.importer]).entry.path
        for i in imports()
        if any(i.imported == package or i.imported.startswith(f"{package}.") for package in packages)
    }


def short(name: str) -> str:
    return name.removeprefix("kafka_ingest.")


@pytest.mark.parametrize("module", FULL, ids=lambda module: str(module.path))
def test_every_module_is_in_a_room_and_says_in_its_first_line_what_it_is(module: Module) -> None:
    assert place_of(module)
    assert (ast.get_docstring(module.tree) or "").strip()


def test_every_room_has_a_module() -> None:
    assert ROOMS.keys() - {place_of(module).entry.path for module in MODULES.values()} == set()


def test_a_room_imports_only_from_the_floors_below_it() -> None:
    found = upward(own_imports(), places_of(MODULES))
    assert [
        f"{i.importer}, line {i.line}, imports {i.imported} ({i.when.value}): {reason}"
        for i, reason in found
        if not (i.when is When.BY_NAME and short(i.importer) in BY_NAME)
    ] == []


def test_no_import_of_our_own_is_hidden_in_a_function() -> None:
    hidden = {(short(i.importer), short(i.imported)) for i in own_imports() if i.when is When.CALLED}
    assert hidden - INSIDE_FUNCTIONS.keys() == set()
    assert INSIDE_FUNCTIONS.keys() - hidden == set(), "not needed any more"


def test_modules_do_not_import_in_a_circle() -> None:
    assert circles((i.importer, i.imported) for i in own_imports() if i.when is not When.BY_NAME) == []


def test_dagster_is_imported_around_the_stages_only() -> None:
    allowed = {"orchestration", "definitions.py", "cli"}
    assert importers("dagster", "dagster_shared", "dagster_graphql") <= allowed


def test_pipelines_do_no_io() -> None:
    assert importers("socket", "urllib", "http", "subprocess", "pathlib", "os").isdisjoint({"pipelines", "dates"})


def test_the_cluster_is_known_in_kafka_engine_and_the_tools_and_the_driver_in_sinks() -> None:
    assert importers("confluent_kafka") <= {"kafka", "engine", "cli", "local"}
    assert importers("pymysql") <= {"sinks/*", "cli", "local"}


def dialects_asked(module: Module) -> Iterator[int]:
    """Lines that ask for the name of a dialect or compare with it."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute(attr="name" | "is_mariadb", value=value) if re.search(r"\bdialect$", ast.unparse(value)):
                yield node.lineno
            case ast.Call(func=ast.Name("getattr"), args=[value, *_]) if re.search(r"\bdialect$", ast.unparse(value)):
                yield node.lineno
            case ast.Compare() if any(
                re.search(r"\b_?(dialect|get_backend_name\(\)|drivername)$", ast.unparse(side))
                for side in (node.left, *node.comparators)
            ):
                yield node.lineno


def test_only_the_sinks_ask_which_database_it_is() -> None:
    asked = {str(m.path): sorted(set(dialects_asked(m))) for m in FULL}
    known = {path: any(Path(path).is_relative_to(place) for place in KNOW_DIALECTS) for path in asked}
    assert {path: lines for path, lines in asked.items() if lines and not known[path]} == {}


def test_what_a_command_launches_runs_with_does_not_wait_for_dagster() -> None:
    code = "import sys, kafka_ingest.cli.backfill; print('dagster' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "False\n"


def test_the_picture_and_the_table_of_floors_fit_the_source() -> None:
    assert differing(ROOT) == [], "run `python -m kafka_ingest_tests.architecture picture` and commit what it writes"
