"""The pages a user reads, taken apart: headings as anchors, links, fenced code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        [
            *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
            *(ROOT / "benchmarks").rglob("*.md"),
            *(ROOT / "docs").rglob("*.md"),
        ]
    )
)

_FENCE = re.compile(
    r"^(?P<mark>```+|~~~+)(?P<language>\w*)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=mark)\s*$", re.DOTALL | re.MULTILINE
)
_TITLE = re.compile(r'\btitle="([^"]+)"')
_SECTION = re.compile(r"^## +(.+?)\s*$", re.MULTILINE)
_NOT_RUN = re.compile(r"<!-- not run: ((?:(?!-->).)+) -->\n\Z")
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_ANCHOR = re.compile(r"<a id=\"([^\"]+)\">")


@dataclass(frozen=True)
class Code:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    title: str | None = None
    """The file whose content it is: `title="…"` after the language, which the site shows."""
    section: str = ""
    """The heading of the second level above it."""
    not_run: str | None = None
    """Why it is not run, where `<!-- not run: … -->` stands before it."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def code_blocks(page: Path) -> Iterator[Code]:
    """The page's fenced blocks, in order."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        above = text[: found.start()]
        title, not_run = _TITLE.search(found["info"]), _NOT_RUN.search(above)
        yield Code(
            page,
            above.count("\n") + 1,
            found["language"],
            found["code"],
            title=title[1] if title else None,
            section=(_SECTION.findall(_FENCE.sub("", above)) or [""])[-1],
            not_run=not_run[1] if not_run else None,
        )


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Where the page's links lead within the repository."""
    return [link for link in _LINK.findall(prose(page)) if not re.match(r"[a-z][a-z0-9+.-]*:", link)]


def anchors(page: Path) -> set[str]:
    """Names that a link to a place on the page may use."""
    text = prose(page)
    return {slug(heading) for heading in _HEADING.findall(text)} | set(_ANCHOR.findall(text))


def slug(heading: str) -> str:
    """The anchor of a heading, as repository hosts and MkDocs make it."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain.lower()).strip())
