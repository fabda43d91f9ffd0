"""Every block of the pages that a new user reads first is run by a test, or says why it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kafka_ingest.cli.init.project import project_files
from kafka_ingest_tests.docs.blocks import FRONT_PAGES, Reader, UnknownBlock, blocks_to_run
from kafka_ingest_tests.docs.pages import ROOT, Code, code_blocks
from kafka_ingest_tests.e2e.fresh_project import FreshEnvironment
from kafka_ingest_tests.support.new_user import Shell

BLOCKS = [code for page in FRONT_PAGES for code in code_blocks(page)]


def test_each_block_is_run_but_for_these() -> None:
    run = [code for page in FRONT_PAGES for code in blocks_to_run(page)]
    left_out = [(code.page.name, code.not_run or code.language) for code in BLOCKS if code not in run]
    assert left_out == [
        ("README.md", "text"),  # a picture
        ("README.md", "the quickstart's run of the first is tested, and the second is what tests it"),
        ("README.md", "rows of a demo that ran once"),
        ("quickstart.md", "text"),  # what the doctor says
    ]
    assert {code.language for code in run} == {"sh", "console", "python", "sql"}


@pytest.mark.parametrize("code", [code for code in BLOCKS if code.title], ids=str)
def test_a_file_that_a_page_shows_is_the_one_that_init_writes(code: Code) -> None:
    assert code.text == project_files("shop")[str(code.title)]


def blocks(tmp_path: Path, text: str) -> list[Code]:
    page = tmp_path / "page.md"
    page.write_text(text)
    return list(blocks_to_run(page))


@pytest.mark.parametrize("language", ["", "yaml", "toml", "rust"])
def test_a_block_that_nobody_can_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setattr("kafka_ingest_tests.docs.pages.ROOT", tmp_path)
    with pytest.raises(UnknownBlock, match=r"page.md:3: a block of language .* cannot be run"):
        blocks(tmp_path, f"one\n\n```{language}\na: 1\n```\n")


def test_a_block_with_a_title_is_a_file_and_one_with_a_reason_is_left_out(tmp_path: Path) -> None:
    text = """## One
```toml title="a/b.toml"
[a]
```
<!-- not run: because -->
```rust
## no heading
```
## Two
<!-- not run: this is about the next block alone -->

Text.

```sh
true
```
"""
    found = blocks(tmp_path, text)
    assert [(code.section, code.language, code.title) for code in found] == [
        ("One", "toml", "a/b.toml"),
        ("Two", "sh", None),
    ]


def test_the_pages_are_those_that_tests_read() -> None:
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "kafka_ingest_tests" / "services").glob("test_*.py")]
    for page in FRONT_PAGES:
        assert [text for text in tests if "reader.read(" in text and f'"{page.name}")' in text], page


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "Makefile").write_text("demo:\n\t@echo $$$$ > pid; echo ready; sleep 60\n")
    (tmp_path / "constraints.txt").touch()
    # This environment's programs, as a new user's are found.
    shell = Shell(folder, FreshEnvironment(Path(sys.prefix)), constraints=tmp_path / "constraints.txt")
    return Reader(shell, tmp_path, {"database": "sqlite:///rows.db"}, {"make demo": lambda demo: "ready" in demo.said})


READ = """
```sh
mkdir there && cd there
export KAFKA_INGEST_DATABASE_URL=database
```
```python title="made.py"
NAME = "made"
```
```python
import os, pathlib
import made
assert pathlib.Path.cwd().name == "there"
assert os.environ["KAFKA_INGEST_DATABASE_URL"] == "sqlite:///rows.db"
```
```console
$ echo KAFKA_INGEST_DATABASE_URL=database > .env    # then name your database in .env
what it says
$ unset KAFKA_INGEST_DATABASE_URL
$ grep sqlite .env
```
```sql
SELECT 1;
```
"""


def test_a_reader_types_all_of_a_page_into_one_shell(reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(READ)
    reader.read(page)
    assert (tmp_path / "empty" / "there" / "made.py").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        "```sh\nfalse\ntrue\n```\n",
        "```sh\nfalse | true\n```\n",
        "```console\n$ nonsense\n```\n",
        "```python\nraise SystemExit(1)\n```\n",
        "```sql\nSELECT 1 WHERE 1 = 0\n```\n",
        "```sql\nSELECT wrong\n```\n",
    ],
)
def test_what_fails_for_a_reader_fails(reader: Reader, tmp_path: Path, wrong: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(READ + wrong)
    with pytest.raises(AssertionError):
        reader.read(page)


ENDLESS = """## One
```sh
make demo
```
```sh
kill -0 $(cat pid)
```
## Two
```sh
if kill -0 $(cat pid); then exit 1; fi
touch end
```
"""


def test_a_command_that_does_not_end_runs_until_its_section_does(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(ENDLESS)
    reader.read(tmp_path / "page.md")
    assert (tmp_path / "empty" / "end").exists()


def test_a_command_that_ends_before_its_time_fails(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "empty" / "Makefile").write_text("demo:\n\techo ended\n")
    (tmp_path / "page.md").write_text("```sh\nmake demo\n```\n")
    with pytest.raises(AssertionError, match="make demo has ended"):
        reader.read(tmp_path / "page.md")
