"""Stages are plain Python: Dagster is known in orchestration/, definitions.py and cli/ only, and I/O has its own places."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kafka_ingest

ROOT = Path(kafka_ingest.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def place(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def importers(*packages: str) -> set[str]:
    """Folders (or top-level modules) of ours that import one of these packages."""
    return {
        place(path)
        for path in MODULES
        for name in imported(path)
        if any(name == p or name.startswith(f"{p}.") for p in packages)
    }


def test_dagster_is_imported_in_orchestration_definitions_and_the_command_line_only() -> None:
    assert importers("dagster", "dagster_shared", "dagster_graphql") <= {
        "orchestration",
        "definitions.py",
        "examples",
        "cli",
    }


def test_no_stage_imports_the_orchestration_around_it() -> None:
    inner = {"streams", "kafka", "pipelines", "sinks", "engine", "settings.py", "records.py", "errors.py", "local"}
    inner |= {"redaction.py", "processes.py"}
    assert importers("kafka_ingest.orchestration", "kafka_ingest.cli", "kafka_ingest.definitions").isdisjoint(inner)


def test_nothing_imports_the_command_line_but_itself() -> None:
    assert importers("kafka_ingest.cli") == {"cli"}


def test_pipelines_do_no_io() -> None:
    assert "pipelines" not in importers(
        "confluent_kafka", "pymysql", "socket", "urllib", "http", "subprocess", "pathlib", "os", "kafka_ingest.sinks"
    )


def test_the_cluster_is_known_in_kafka_engine_and_the_tools_and_the_driver_in_sinks() -> None:
    assert importers("confluent_kafka") <= {"kafka", "engine", "cli", "local"}
    assert importers("pymysql") <= {"sinks", "cli", "local"}


def test_what_a_command_launches_runs_with_does_not_wait_for_dagster() -> None:
    code = "import sys, kafka_ingest.cli.backfill; print('dagster' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "False\n"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_in_its_first_line_what_it_is(path: Path) -> None:
    source = path.read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source))
