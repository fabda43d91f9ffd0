"""The import graph of a package, read from its source: which module names which, where, and which go round in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path, PurePosixPath

_ENTRY_POINT = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")


class When(Enum):
    """When an import is carried out."""

    LOADING = "when the module is loaded"
    CALLED = "inside a function"
    TYPING = "for types only"
    """Under `if TYPE_CHECKING:`, so never at run time."""
    BY_NAME = "by name"
    """A string `module:attribute` that is resolved at run time."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement; `imported` is a module of any package."""

    importer: str
    imported: str
    when: When
    line: int


@dataclass(frozen=True)
class Module:
    """A module of the package: its dotted name, its path below the package's folder, and its text."""

    name: str
    path: PurePosixPath
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        """Parsed when somebody looks at it: pytest collects in every worker what one of them runs."""
        return ast.parse(self.source, filename=str(self.path))

    @property
    def is_empty(self) -> bool:
        """An `__init__.py` that only marks a folder as a package."""
        return not self.source.strip()


def read_modules(package: Path) -> dict[str, Module]:
    """Every module below the package's folder by its dotted name, in the order of their paths."""
    modules = {}
    for file in sorted(package.rglob("*.py")):
        path = PurePosixPath(file.relative_to(package))
        parts = path.with_suffix("").parts
        name = ".".join((package.name, *(parts[:-1] if parts[-1] == "__init__" else parts)))
        modules[name] = Module(name, path, file.read_text())
    return modules


def imports_of(module: Module, own: Collection[str]) -> Iterator[Import]:
    """The module's imports in the order of its lines. `own` are the modules of its package: `from package import name` means
    `package.name` where that is one of them."""
    waiting: list[tuple[ast.AST, When]] = [(module.tree, When.LOADING)]  # the next one is the last
    while waiting:
        node, when = waiting.pop()
        match node:
            case ast.Import():
                yield from (Import(module.name, alias.name, when, node.lineno) for alias in node.names)
            case ast.ImportFrom():
                yield from _imports_from(node, module.name, own, when)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting += [(child, When.CALLED) for child in ast.iter_child_nodes(node)][::-1]
            case ast.If(test=test) if ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                waiting += [(child, when) for child in node.orelse[::-1]]
                waiting += [(child, When.TYPING) for child in node.body[::-1]]
            case ast.Constant(value=str(text)):
                if (entry_point := _ENTRY_POINT.fullmatch(text)) and entry_point[1] in own:
                    yield Import(module.name, entry_point[1], When.BY_NAME, node.lineno)
            case _:
                waiting += [(child, when) for child in ast.iter_child_nodes(node)][::-1]


def _imports_from(node: ast.ImportFrom, importer: str, own: Collection[str], when: When) -> Iterator[Import]:
    if node.level:
        raise ValueError(f"{importer}, line {node.lineno}: a relative import; write the module's full name")
    base = node.module or ""
    names = dict.fromkeys(n if (n := f"{base}.{alias.name}") in own else base for alias in node.names)
    return (Import(importer, name, when, node.lineno) for name in names)


def own_imports(modules: Mapping[str, Module]) -> list[Import]:
    """The imports of these modules by one another."""
    return [i for module in modules.values() for i in imports_of(module, modules) if i.imported in modules]


def circles(arrows: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """The largest groups in which each can be reached from each other one along the arrows (strongly connected components of
    more than one node), each sorted."""
    after: dict[str, list[str]] = {}
    for source, target in arrows:
        after.setdefault(source, []).append(target)
        after.setdefault(target, [])
    reached = {node: _reachable(node, after) for node in after}
    groups = {tuple(sorted({other for other in reached[node] if node in reached[other]})) for node in after}
    return sorted(group for group in groups if len(group) > 1)


def _reachable(start: str, after: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for node in after[waiting.pop()]:
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return seen


def without_detours(arrows: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows that no longer way stands for (transitive reduction). There must be no circle."""
    after: dict[str, list[str]] = {}
    for source, target in sorted(arrows):
        after.setdefault(source, []).append(target)
        after.setdefault(target, [])
    return {
        (source, target)
        for source, target in arrows
        if not any(target in _reachable(other, after) for other in after[source] if other != target)
    }
