"""An extension of Griffe: lines `name: what it is` of our docstrings become lists in the reference.

Our docstrings describe arguments so, without a heading before them; as Markdown the lines would run into one paragraph.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ITEM = re.compile(r"`?[a-z_]\w*`?(?:, `?[a-z_]\w*`?)*: +\S")


def with_lists(text: str) -> str:
    """The docstring, with a list item of each line `name: …` at the start of a paragraph or after another one."""
    lines: list[str] = []
    in_items = False
    for line in text.splitlines():
        if _ITEM.match(line) and (in_items or not lines or not lines[-1].strip()):
            name, _, rest = line.partition(":")
            lines.append(f"- **{name.replace('`', '')}**:{rest}")
            in_items = True
        elif not line.strip():
            lines.append(line)
            in_items = False
        else:
            lines.append(f"  {line.strip()}" if in_items else line)
    return "\n".join(lines)


class DocstringLists(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_lists(obj.docstring.value)
