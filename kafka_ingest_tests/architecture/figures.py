"""Figures of the package's source: how large its parts are, what they say of themselves, and whether they keep the floors.

How is it counted?

- A module is a file with content; an `__init__.py` that only marks a folder is none.
- A function is every `def`, also a method and one inside another; its lines are those from `def` to its end, docstring included.
- Its parameters are counted without `self`, `cls`, `*args` and `**kwargs`.
- Public is what neither has a leading underscore nor stands in a class with one or in a function.
- Lines of code are those that are not blank, a comment or a docstring.
- `Any` is counted where it is used, not where it is imported.
- A circle is a group of modules that all import one another, at whatever time; an arrow is a pair of modules.
"""

from __future__ import annotations

import ast
import io
import statistics
import subprocess
import tempfile
import tokenize
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import NamedTuple

from kafka_ingest_tests.architecture.floors import places_of, upward
from kafka_ingest_tests.architecture.imports import Module, When, circles, own_imports, read_modules

MODULE_LINES = 400
FUNCTION_LINES = 50
PARAMETERS = 6

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class Share(NamedTuple):
    """So many of so many."""

    part: int
    whole: int

    def __str__(self) -> str:
        return f"{100 * self.part / self.whole:.1f} % ({self.part} of {self.whole})" if self.whole else "none"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted. Where names are listed, their number is the figure."""

    modules: int
    lines: int
    large_modules: list[str]
    long_functions: Share
    functions_of_many_parameters: Share
    median_function_lines: float
    functions_with_docstring: Share
    classes_with_docstring: Share
    any_per_thousand_lines: float
    import_circles: list[tuple[str, ...]]
    upward_imports: list[str]
    imports_inside_functions: list[str]
    class_names_used_twice: list[str]
    function_names_used_twice: list[str]
    readme_lines: int


ROWS: tuple[tuple[str, Callable[[Figures], object]], ...] = (
    ("modules", lambda f: f.modules),
    ("lines", lambda f: f.lines),
    (f"modules over {MODULE_LINES} lines", lambda f: len(f.large_modules)),
    (f"functions over {FUNCTION_LINES} lines", lambda f: f.long_functions),
    (f"functions of more than {PARAMETERS} parameters", lambda f: f.functions_of_many_parameters),
    ("lines of a function, median", lambda f: f"{f.median_function_lines:g}"),
    ("public functions with a docstring", lambda f: f.functions_with_docstring),
    ("public classes with a docstring", lambda f: f.classes_with_docstring),
    ("`Any` per thousand lines of code", lambda f: f"{f.any_per_thousand_lines:.1f}"),
    ("circles of imports", lambda f: len(f.import_circles)),
    ("imports against the floors", lambda f: len(f.upward_imports)),
    ("imports of our own inside functions", lambda f: len(f.imports_inside_functions)),
    ("public class names used twice", lambda f: len(f.class_names_used_twice)),
    ("public function names used in several modules", lambda f: len(f.function_names_used_twice)),
    ("README, lines", lambda f: f.readme_lines),
)


@contextmanager
def tree_at(repository: Path, revision: str) -> Iterator[Path]:
    """A temporary folder with the package and the README as they were. Raises ValueError where there is no such revision."""
    command = ["git", "-C", str(repository), "archive", "--format=zip", revision, "kafka_ingest", "README.md"]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise ValueError(f"cannot read revision {revision}: {archive.stderr.decode(errors='replace').strip()}")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(archive.stdout)) as files:
        files.extractall(folder)
        yield Path(folder)


def figures_of(root: Path) -> Figures:
    """Count the package `kafka_ingest` and the README in a folder."""
    modules = read_modules(root / "kafka_ingest")
    full = [module for module in modules.values() if not module.is_empty]
    functions = [function for module in full for function in ast.walk(module.tree) if isinstance(function, _Function)]
    public = [definition for module in full for definition in _public(module.tree)]
    # The tables of names that are resolved at run time are what cuts a circle: no arrows.
    imports = [i for i in own_imports(modules) if i.when is not When.BY_NAME]
    return Figures(
        modules=len(full),
        lines=sum(_lines(module) for module in full),
        large_modules=[str(module.path) for module in full if _lines(module) > MODULE_LINES],
        long_functions=_share(_length(function) > FUNCTION_LINES for function in functions),
        functions_of_many_parameters=_share(_parameters(function) > PARAMETERS for function in functions),
        median_function_lines=statistics.median(map(_length, functions)),
        functions_with_docstring=_share(_is_documented(d) for d in public if isinstance(d, _Function)),
        classes_with_docstring=_share(_is_documented(d) for d in public if isinstance(d, ast.ClassDef)),
        any_per_thousand_lines=1000 * sum(map(_uses_of_any, full)) / sum(map(_code_lines, full)),
        import_circles=circles((i.importer, i.imported) for i in imports),
        upward_imports=_arrows((i.importer, i.imported) for i, _ in upward(imports, places_of(modules))),
        imports_inside_functions=_arrows((i.importer, i.imported) for i in imports if i.when is When.CALLED),
        class_names_used_twice=_repeated(_names(full, ast.ClassDef)),
        function_names_used_twice=_repeated(_names(full, _Function)),
        readme_lines=len((root / "README.md").read_text().splitlines()),
    )


def _lines(module: Module) -> int:
    return len(module.source.splitlines())


def _length(function: _Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _parameters(function: _Function) -> int:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def _public(node: ast.Module | ast.ClassDef, *, is_deep: bool = True) -> Iterator[_Function | ast.ClassDef]:
    for child in node.body:
        if isinstance(child, _Function | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if is_deep and isinstance(child, ast.ClassDef):
                yield from _public(child)


def _is_documented(definition: _Function | ast.ClassDef) -> bool:
    return ast.get_docstring(definition) is not None


def _uses_of_any(module: Module) -> int:
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(module.tree))


def _code_lines(module: Module) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | _Function) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(lines)


def _share(found: Iterable[bool]) -> Share:
    counted = Counter(found)
    return Share(counted[True], counted.total())


def _arrows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return sorted({f"{importer} -> {imported}" for importer, imported in pairs})


def _names(modules: Sequence[Module], kind: type[ast.ClassDef] | UnionType) -> Iterator[str]:
    """Public names at the top of modules. The folders of the databases do one thing each in its own way, under one name: what
    stands in several of them counts once."""
    by_database: set[str] = set()
    for module in modules:
        names = [d.name for d in _public(module.tree, is_deep=False) if isinstance(d, kind)]
        if module.path.match("sinks/*/*.py"):
            by_database.update(names)
        else:
            yield from names
    yield from by_database


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)
