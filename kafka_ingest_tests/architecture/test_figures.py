"""What is counted, on a small package whose figures are known."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_ingest_tests.architecture.__main__ import ROOT, table
from kafka_ingest_tests.architecture.figures import Figures, Share, figures_of, tree_at

pytestmark = pytest.mark.slow

STREAM = '''"""A stream."""

from typing import Any

from kafka_ingest.pipelines.decode import decode  # upward


class Stream:
    """What a person declares."""

    def read(self, one: Any, two: int, three: int, four: int, five: int, six: int) -> Any:
        """Six parameters are not too many."""

    def write(self, one: int, two: int, three: int, four: int, five: int, six: int, *, seven: int) -> None: ...

    def _hidden(self) -> None: ...


class _Private:
    def shown(self) -> None: ...


def load() -> None:
    import kafka_ingest.errors
'''
DECODE = '''"""Bytes to frames."""

import kafka_ingest.streams.stream


class Stream: ...


def decode() -> None:
    def inner() -> None: ...


def load() -> None: ...
'''


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    for name, source in {
        "__init__": "",
        "errors": '"""Errors."""\n' + "\n" * 400,
        "streams/__init__": "",
        "streams/stream": STREAM,
        "pipelines/decode": DECODE + "\n\ndef long() -> None:\n" + "    print()\n" * 50,
    }.items():
        path = tmp_path / "kafka_ingest" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (tmp_path / "README.md").write_text("one\ntwo\n")
    return figures_of(tmp_path)


def test_sizes_are_counted(figures: Figures) -> None:
    assert figures.modules == 3
    assert figures.large_modules == ["errors.py"]
    assert figures.long_functions == Share(1, 9)
    assert figures.functions_of_many_parameters == Share(1, 9)
    assert figures.median_function_lines == 1
    assert figures.readme_lines == 2


def test_docstrings_of_what_is_public_are_counted(figures: Figures) -> None:
    assert figures.functions_with_docstring == Share(1, 6)
    assert figures.classes_with_docstring == Share(1, 2)


def test_any_is_counted_where_it_is_used_by_lines_of_code(figures: Figures) -> None:
    code_lines = 10 + 5 + 51  # of the stream, of decode, of the long function
    assert figures.any_per_thousand_lines == pytest.approx(2000 / code_lines)


def test_circles_and_arrows_against_the_floors_are_named(figures: Figures) -> None:
    stream, decode = "kafka_ingest.streams.stream", "kafka_ingest.pipelines.decode"
    assert figures.import_circles == [(decode, stream)]
    assert figures.upward_imports == [f"{stream} -> {decode}"]
    assert figures.imports_inside_functions == [f"{stream} -> kafka_ingest.errors"]


def test_names_that_several_modules_use_are_named(figures: Figures) -> None:
    assert figures.class_names_used_twice == ["Stream"]
    assert figures.function_names_used_twice == ["load"]


def test_the_table_has_a_column_for_each_tree(figures: Figures) -> None:
    lines = table({"before": figures, "now": figures}).splitlines()
    assert lines[:3] == ["| | before | now |", "|---|---|---|", "| modules | 3 | 3 |"]
    assert "| functions over 50 lines | 11.1 % (1 of 9) | 11.1 % (1 of 9) |" in lines


def test_a_revision_that_is_not_there_is_an_error_with_its_name() -> None:
    with pytest.raises(ValueError, match=r"cannot read revision no-such-revision: "), tree_at(ROOT, "no-such-revision"):
        pass


def test_the_command_prints_the_figures_of_the_working_tree_as_json() -> None:
    command = [sys.executable, "-m", "kafka_ingest_tests.architecture", "figures", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, cwd=ROOT)
    written = [path for path in (ROOT / "kafka_ingest").rglob("*.py") if path.read_text().strip()]
    assert json.loads(answer.stdout)["working tree"]["modules"] == len(written)
