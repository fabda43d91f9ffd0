"""The source of a function that is written line by line for one schema, and then compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kafka_ingest.streams.formats.leaves import Leaf


class FunctionSource:
    """In it `v0`, `v1`, … are the fields' values."""

    def __init__(self, leaves: Sequence[Leaf], **objects: Any) -> None:
        """leaves: how each field's value is read. objects: what the lines know, by its name in them."""
        self.leaves = leaves
        self._objects: dict[str, Any] = objects
        self._lines: list[str] = []

    def add(self, depth: int, line: str) -> None:
        """A line, indented so deep."""
        self._lines.append("    " * depth + line)

    def name_of(self, value: Any) -> str:
        """The name by which the lines know an object."""
        if value is None:
            return "None"
        name = f"o{len(self._objects)}"
        self._objects[name] = value
        return name

    def clear(self, depth: int, start: int, end: int) -> None:
        """The values of these fields as they are where a message does not have them."""
        for place in range(start, end):
            self.add(depth, f"v{place} = {self.name_of(self.leaves[place].absent)}")

    @staticmethod
    def tuple_of(start: int, end: int) -> str:
        """The values of these fields."""
        return f"({''.join(f'v{place}, ' for place in range(start, end))})"

    def compiled(self) -> Callable[[Any], tuple[Any, ...]]:
        """The function, whose name in the lines is `read`."""
        exec("\n".join(self._lines), self._objects)  # noqa: S102  the source is made here; schemas give it no text
        found: Callable[[Any], tuple[Any, ...]] = self._objects["read"]
        return found
