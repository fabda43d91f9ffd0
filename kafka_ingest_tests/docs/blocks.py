"""The code blocks of a page, run one after the other as a reader would type them.

| language | what is done |
|---|---|
| any, with a title | the file of that name is written, where the shell is |
| sh | typed into one shell, line by line |
| console | the lines after `$` are typed |
| python | given to `python` |
| sql | given to the database that the shell's environment, or `.env` where it is, names; it has to find rows |
| text | nothing: it is no code |

A command that does not end runs on, beside what follows, until its section ends, and then gets Ctrl-C. After a line whose comment
says "then name your …", the reader's servers are written into `.env`.

A block that is to be left out has `<!-- not run: why -->` before it. Any other is an error, so that none is forgotten.
`python -m kafka_ingest_tests.docs.blocks` lists what is run, and what is not, and why.
"""

from __future__ import annotations

import shlex
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from kafka_ingest_tests.docs.pages import ROOT, Code, code_blocks
from kafka_ingest_tests.support.new_user import Endless, Shell

FRONT_PAGES = (ROOT / "README.md", ROOT / "docs" / "quickstart.md")
"""Their blocks are run."""

ENDLESS = ("make demo", "dagster dev")
"""Commands that run until Ctrl-C."""

_LANGUAGES = ("sh", "console", "python", "sql", "text")
_READY_SECONDS = 300
_QUERY = """
import os, sys
import sqlalchemy as sa
from dotenv import dotenv_values
named = {**dotenv_values(".local/servers.env"), **os.environ, **dotenv_values(".env")}
with sa.create_engine(named["KAFKA_INGEST_DATABASE_URL"]).connect() as connection:
    rows = connection.exec_driver_sql(sys.argv[1].strip().rstrip(";")).all()
print(*rows, sep="\\n")
sys.exit(None if rows else "no rows")
"""


class UnknownBlock(LookupError):
    """A block of which nobody has said how it is run, or why it is not."""


def blocks_to_run(page: Path) -> Iterator[Code]:
    """The page's blocks, less those that say why they are not run. Raises UnknownBlock for one that cannot be run."""
    for code in code_blocks(page):
        if code.not_run is None and code.language != "text":
            if code.title is None and code.language not in _LANGUAGES:
                raise UnknownBlock(
                    f"{code}: a block of language {code.language!r} cannot be run; give it a title (the file it is), make it "
                    "text, or write <!-- not run: why --> before it"
                )
            yield code


class Reader:
    """Somebody who types what a page says."""

    def __init__(
        self, shell: Shell, logs: Path, replaced: Mapping[str, str], is_reached: Mapping[str, Callable[[Endless], bool]]
    ) -> None:
        """replaced: what a reader writes for the page's names of servers. is_reached: when each of `ENDLESS` does what it is
        started for, so that the reader goes on."""
        self._shell = shell
        self._logs = logs
        self._replaced = replaced
        self._is_reached = is_reached
        self._running = ExitStack()

    def read(self, page: Path) -> None:
        """Do all that the page says. A command that fails, or leaves a process when it is interrupted, fails the test."""
        section = ""
        try:
            for code in blocks_to_run(page):
                if code.section != section:
                    self._running.close()
                    section = code.section
                self._do(code)
        finally:
            self._running.close()

    def _do(self, code: Code) -> None:
        text = self._meant(code.text)
        if code.title is not None:
            self._write(code.title, text)
        elif code.language == "python":
            self._shell.run(f"python -c {shlex.quote(text)}")
        elif code.language == "sql":
            self._shell.run(f"{shlex.quote(sys.executable)} -c {shlex.quote(_QUERY)} {shlex.quote(text)}")
        elif code.language == "console":
            self._type([line[2:] for line in text.splitlines() if line.startswith("$ ")])
        else:
            self._type(text.splitlines())

    def _write(self, name: str, text: str) -> None:
        path = self._shell.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _type(self, lines: list[str]) -> None:
        for line in lines:
            command = next((each for each in ENDLESS if line.startswith(each)), None)
            if command is not None:
                self._start(command, line)
                continue
            self._shell.run(line)
            if "# then name your " in line:
                settings = self._shell.folder / ".env"
                self._write(".env", self._meant(settings.read_text(encoding="utf-8")))

    def _start(self, command: str, line: str) -> None:
        running = self._shell.start(line, self._logs / f"{command}.log")
        self._running.callback(running.interrupt)
        is_reached = self._is_reached[command]
        running.wait_for(lambda: is_reached(running), seconds=_READY_SECONDS)

    def _meant(self, text: str) -> str:
        for said, meant in self._replaced.items():
            text = text.replace(said, meant)
        return text


if __name__ == "__main__":
    for page in FRONT_PAGES:
        for code in code_blocks(page):
            why = "it is no code" if code.language == "text" else code.not_run
            first = textwrap.shorten(code.text, 70, placeholder=" …")
            print(f"{code} {'is run' if why is None else f'is not run: {why}'}\n    {first}")  # noqa: T201
