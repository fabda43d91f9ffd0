"""What MkDocs does beside its configuration: pages out of files outside docs/, and the list of public names.

Files of this repository link to each other as they lie in it, so that links work where the files are read. On the site some
of them have another place; links between them are rewritten here, and MkDocs then checks them.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/peers/README.md": "peers.md",
}
"""Files outside docs/ that are pages of the site, by their place in the repository."""

PUBLIC_NAMES = "{{ public names }}"
"""In a page: one reference entry for each name in `kafka_ingest.__all__`."""

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they lie in the repository become links of the site."""
    uri: str = page.file.src_uri
    place = next((source for source, name in PAGES.items() if name == uri), f"docs/{uri}")
    if PUBLIC_NAMES in markdown:
        markdown = markdown.replace(PUBLIC_NAMES, "\n\n".join(f"::: kafka_ingest.{name}" for name in public_names()))
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_relinked(markdown[end : fence.start()], place, uri), fence.group()]
        end = fence.end()
    return "".join([*parts, _relinked(markdown[end:], place, uri)])


def public_names() -> list[str]:
    """`kafka_ingest.__all__` in its order, without `__version__`. Nothing is imported."""
    tree = ast.parse((ROOT / "kafka_ingest" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            names: list[str] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            return [name for name in names if name != "__version__"]
    raise PluginError("kafka_ingest/__init__.py has no __all__, so the reference has nothing to list")


def _relinked(text: str, place: str, uri: str) -> str:
    return _LINK.sub(lambda link: _site_link(link.group(), place, uri), text)


def _site_link(link: str, place: str, uri: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:|#|/", link):
        return link
    path, hash_, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
    if target in PAGES:
        target = PAGES[target]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    else:
        return link  # not on the site: MkDocs says so
    return posixpath.relpath(target, posixpath.dirname(uri) or ".") + hash_ + anchor
