"""What MkDocs does beside its configuration: pages out of files outside docs/, and the list of public names.

Files of this repository link to each other as they lie in it, so that links work where the files are read. On the site some
of them have another place; links between them are rewritten here, and MkDocs then checks them. A link to a source file, which is
not on the site, becomes its text.
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

_PUBLIC_NAMES = re.compile(r"\{\{ public names of ([\w.]+) \}\}")
"""In a page: one reference entry for each name in the module's `__all__`."""

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they lie in the repository become links of the site."""
    uri: str = page.file.src_uri
    place = next((source for source, name in PAGES.items() if name == uri), f"docs/{uri}")
    markdown = _PUBLIC_NAMES.sub(lambda found: reference(found[1]), markdown)
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_relinked(markdown[end : fence.start()], place, uri), fence.group()]
        end = fence.end()
    return "".join([*parts, _relinked(markdown[end:], place, uri)])


def reference(module: str) -> str:
    """The entries of a module's public names, in the order of its `__all__`. Nothing is imported."""
    tree = ast.parse((ROOT / module.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            names: list[str] = ast.literal_eval(node.value)
            return "\n\n".join(f"::: {module}.{name}" for name in names if name != "__version__")
    raise PluginError(f"{module} has no __all__, so the reference has nothing to list")


def _relinked(text: str, place: str, uri: str) -> str:
    return _LINK.sub(lambda found: _site_link(found, place, uri), text)


def _site_link(found: re.Match[str], place: str, uri: str) -> str:
    text, link = found.groups()
    if re.match(r"[a-z][a-z0-9+.-]*:|#|/", link):
        return found.group()
    path, hash_, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(place), path))
    if target in PAGES:
        target = PAGES[target]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif (ROOT / target).exists():
        return text  # a source file: it is not on the site
    else:
        return found.group()  # MkDocs says that it leads nowhere
    return f"[{text}]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{hash_}{anchor})"
