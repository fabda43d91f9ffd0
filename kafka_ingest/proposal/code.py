"""Python source as `ruff format` writes it, whatever its line length is from 88 on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

WIDTH = 88
"""ruff's own default. What is longer is split with a comma at its end, which keeps it split where lines may be longer."""

_STDLIB = ("decimal", "typing")


@dataclass(frozen=True, slots=True)
class Code:
    """An expression, and the names that it needs: (module, name)."""

    text: str
    imports: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def __str__(self) -> str:
        return self.text


def code(text: str, **imports: str) -> Code:
    """An expression; imports: name → module."""
    return Code(text, frozenset((module, name) for name, module in imports.items()))


def text_literal(text: str) -> str:
    """A text as a literal, in double quotes unless those would have to be escaped."""
    plain = repr(text)
    if plain.startswith('"'):
        return plain
    body = plain[1:-1]
    if '"' not in body:
        return '"' + body.replace("\\'", "'") + '"'
    if "\\'" not in body:
        return plain
    # Both kinds of quotes: those that are fewer are escaped, and double ones where there are as many.
    doubles, singles = body.count('"'), body.count("\\'")
    if doubles > singles:
        return plain
    return '"' + body.replace("\\'", "'").replace('"', '\\"') + '"'


def call(head: str, arguments: Sequence[str], *, indent: int = 0, tail: str = "") -> list[str]:
    """`head(arguments)` in a line, or a line for each argument where that is too long."""
    line = f"{' ' * indent}{head}({', '.join(arguments)}){tail}"
    if len(line) <= WIDTH or not arguments:
        return [line]
    inner = [f"{' ' * (indent + 4)}{argument}," for argument in arguments]
    return [f"{' ' * indent}{head}(", *inner, f"{' ' * indent}){tail}"]


def mapping(items: Mapping[str, str], *, indent: int, head: str, tail: str = "") -> list[str]:
    """`head{key: value}` likewise; keys are texts."""
    pairs = [f"{text_literal(key)}: {value}" for key, value in items.items()]
    line = f"{' ' * indent}{head}{{{', '.join(pairs)}}}{tail}"
    if len(line) <= WIDTH:
        return [line]
    inner = [f"{' ' * (indent + 4)}{pair}," for pair in pairs]
    return [f"{' ' * indent}{head}{{", *inner, f"{' ' * indent}}}{tail}"]


def comment(text: str, *, indent: int = 4) -> list[str]:
    """The text as comment lines."""
    return [f"{' ' * indent}# {line}" for line in wrap(plain_text(text), WIDTH - indent - 2, break_on_hyphens=False)]


def plain_text(text: str) -> str:
    """The text with everything that does not print as an escape: what a message says is not to act in an editor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def import_lines(needed: Iterable[tuple[str, str]]) -> list[str]:
    """The imports, sorted as ruff's isort rules have it: the standard library, then the others. A name that is empty is the
    module itself."""
    by_module: dict[str, list[str]] = {}
    for module, name in sorted(set(needed)):
        by_module.setdefault(module, []).append(name)
    whole = ["import datetime as dt"] if by_module.pop("datetime", None) else []
    own = [line for module in sorted(by_module) if module in _STDLIB for line in _from(module, by_module[module])]
    others = [
        line for module in sorted(by_module) if module not in _STDLIB for line in _from(module, by_module[module])
    ]
    return [*whole, *own, *([""] if whole or own else []), *others]


def _from(module: str, names: Sequence[str]) -> list[str]:
    if "" in names:
        rest = [name for name in names if name]
        return [f"import {module}", *(_from(module, rest) if rest else [])]
    # Constants, classes, then others: isort's `order-by-type`.
    ordered = sorted(
        names, key=lambda name: (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)
    )
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {module} import (", *(f"    {name}," for name in ordered), ")"]
