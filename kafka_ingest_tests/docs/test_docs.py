"""README and docs/: links lead somewhere, code blocks compile and use public names, files and settings that are named exist."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import kafka_ingest
from kafka_ingest_tests.docs.pages import PAGES, ROOT, Code, anchors, code_blocks, links, prose, slug

PUBLIC_MODULES = ("kafka_ingest", "kafka_ingest.testing")
PYTHON = [code for page in PAGES for code in code_blocks(page) if code.language == "python"]
USING_US = [code for code in PYTHON if re.search(r"^\s*(from|import) kafka_ingest\b", code.text, re.MULTILINE)]


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("The order of messages", "the-order-of-messages"),
        ("Two writers, one key", "two-writers-one-key"),
        (
            "Take over from another consumer (moving a consumer group)",
            "take-over-from-another-consumer-moving-a-consumer-group",
        ),
        ("Dagster's settings", "dagsters-settings"),
        ("3. Let `Dagster` do it", "3-let-dagster-do-it"),
    ],
)
def test_a_heading_has_the_anchor_that_sites_give_it(heading: str, anchor: str) -> None:
    assert slug(heading) == anchor


@pytest.mark.parametrize("code", PYTHON, ids=str)
def test_python_blocks_compile(code: Code) -> None:
    compile(code.text, str(code), "exec")


def test_there_are_python_blocks_that_use_this_package() -> None:
    assert {shown(code.page) for code in USING_US} >= {"README.md", "docs/streams.md", "docs/extending.md"}


@pytest.mark.parametrize("code", USING_US, ids=str)
def test_blocks_import_public_names_only(code: Code) -> None:
    others = []
    for node in ast.walk(ast.parse(code.text)):
        if isinstance(node, ast.Import):
            others += [
                n.name for n in node.names if n.name.startswith("kafka_ingest.") and n.name not in PUBLIC_MODULES
            ]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kafka_ingest":
            public = import_module(node.module or "").__all__ if node.module in PUBLIC_MODULES else ()
            others += [f"{node.module}.{n.name}" for n in node.names if n.name not in public]
    assert others == []


def failures(texts: list[str]) -> list[str | None]:
    """Of each text of Python, run as a program of its own: what it wrote where it failed."""
    answer = subprocess.run(
        [sys.executable, "-m", "kafka_ingest_tests.docs.apart"], input=json.dumps(texts), cwd=ROOT,
        env=clean_environment(), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found: list[str | None] = json.loads(answer.stdout)
    return found


def test_blocks_that_need_no_other_file_run() -> None:
    alone = [code for code in USING_US if "my_streams" not in code.text]
    wrong = ["made = 1", "print('so far')\nmade", "assert __name__ == '__main__'"]
    *found, first, second, third = failures([*(code.text for code in alone), *wrong])
    assert {str(code): said for code, said in zip(alone, found, strict=True) if said} == {}
    assert (first, third) == (None, None)
    assert second is not None, "a block that fails is told, and has nothing of the one before it"
    assert "so far\n" in second
    assert "NameError: name 'made' is not defined" in second


def clean_environment() -> dict[str, str]:
    ours = ("KAFKA_", "DAGSTER_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


REPOSITORY = {
    path.relative_to(ROOT).as_posix()
    for folder in ("kafka_ingest", "kafka_ingest_tests", "benchmarks", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
} | {path.name for path in ROOT.iterdir()}
# Files of the reader's own, and a database's.
NOT_OURS = re.compile(r"src/|dagster_home/|my_streams/|stack\.json|connect\.py|defs\.yaml")
NAMED_FILE = re.compile(r"`([\w./*-]+\.(?:py|md|yaml|toml))`")


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_files_that_are_named_exist(page: Path) -> None:
    gone = [
        name
        for name in NAMED_FILE.findall(prose(page))
        if not NOT_OURS.match(name) and not any(Path("/", known).match(name) for known in REPOSITORY)
    ]
    assert gone == []


def test_every_setting_is_described() -> None:
    package = Path(kafka_ingest.__file__).parent
    used = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"\bKAFKA_INGEST_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8"))
    }
    described = set(
        re.findall(r"`(KAFKA_INGEST_[A-Z_]+)`", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"))
    )
    assert used == described


def test_the_readme_is_a_front_door_and_no_manual() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
