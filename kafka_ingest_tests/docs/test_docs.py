"""README and docs/: links lead somewhere, code blocks compile and use public names, files and settings that are named exist."""

from __future__ import annotations

import ast
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


@pytest.mark.parametrize("code", [code for code in USING_US if "my_streams" not in code.text], ids=str)
def test_blocks_that_need_no_other_file_run(code: Code) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", code.text], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr


def test_the_stream_of_the_readme_works_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """As typed: the file, then the exports. A program that lies elsewhere, as console scripts do, finds it."""
    page = ROOT / "README.md"
    declared = next(code.text for code in code_blocks(page) if code.language == "python")
    exports = next(code.text for code in code_blocks(page) if "KAFKA_INGEST_STREAMS" in code.text)
    folder, program = tmp_path / "own" / "my_streams", tmp_path / "bin" / "program.py"
    folder.mkdir(parents=True)
    (folder / "quotes.py").write_text(declared)
    program.parent.mkdir()
    program.write_text(
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        "from kafka_ingest.definitions import defs\n"
        "print(sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()))\n"
    )
    typed = "".join(line + "\n" for line in exports.splitlines() if line.startswith("export "))
    answer = subprocess.run(
        ["sh", "-c", f'{typed}exec "$0" "$1"', sys.executable, str(program)],
        cwd=folder.parent, env=clean_environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "['kafka/quotes', 'quotes/dead_letters', 'quotes/ledger', 'quotes/quotes']\n"


def clean_environment() -> dict[str, str]:
    ours = ("KAFKA_", "DAGSTER_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


REPOSITORY = {
    path.relative_to(ROOT).as_posix()
    for folder in ("kafka_ingest", "kafka_ingest_tests", "benchmarks", "docs", ".ci")
    for path in (ROOT / folder).rglob("*")
} | {path.name for path in ROOT.iterdir()}
# Files of the reader's own, and a database's.
NOT_OURS = re.compile(r"my_streams/|stack\.json|connect\.py")
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
