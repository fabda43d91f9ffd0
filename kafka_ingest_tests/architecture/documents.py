"""The code in README and documentation: which of our names a reader is told to import."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<indent>[ \t]*)```(?:python|py)\b[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Shown:
    """A name that a document imports: `from module import name`, or `import module` without a name."""

    document: str
    module: str
    name: str | None


def documents(root: Path) -> list[Path]:
    """The README and every page of the documentation."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def shown_imports(document: Path, package: str) -> Iterator[Shown]:
    """What the Python blocks of a document import from the package. Raises SyntaxError where a block is not Python."""
    for block in _BLOCK.finditer(document.read_text()):
        for node in ast.walk(ast.parse(textwrap.dedent(block["code"]), filename=str(document))):
            found: list[Shown] = []
            if isinstance(node, ast.Import):
                found = [Shown(document.name, alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [Shown(document.name, node.module or "", alias.name) for alias in node.names]
            yield from (shown for shown in found if shown.module.split(".")[0] == package)
