"""`delete_when`: messages that delete, told by the value of a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.formats.leaves import Path

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class DeleteWhen:
    """Fields, and the values of each with which a message deletes."""

    fields: tuple[tuple[Path, tuple[Value, ...]], ...]

    @classmethod
    def of(cls, declared: Mapping[str, Value | Sequence[Value]], stream: str) -> DeleteWhen:
        """Dotted path → a value or several. Raises ConfigError for what no field can have."""
        fields = []
        if not declared:
            raise ConfigError(
                f"stream {stream}: delete_when is empty; name a field, or leave it out",
                stream=stream,
                setting="delete_when",
            )
        for path, values in declared.items():
            listed = tuple(values) if isinstance(values, list | tuple | set | frozenset) else (values,)
            for value in listed:
                if not isinstance(value, str | int) or not path:
                    raise ConfigError(
                        f"stream {stream}: delete_when has {path!r}: {value!r}; it takes the path of a field, and its value or "
                        'a list of values, each a text, an integer or a boolean: {"op": "d"}',
                        stream=stream,
                        setting="delete_when",
                    )
            fields.append((tuple(path.split(".")), listed))
        return cls(tuple(fields))

    @property
    def marks(self) -> tuple[Path, ...]:
        """The fields that `says` is given."""
        return tuple(path for path, _ in self.fields)

    def says(self, marks: Sequence[object]) -> bool:
        """Whether a message with these values of `marks` deletes. `true` is not 1, as it is in Python."""
        return any(
            type(mark) is type(value) and mark == value
            for mark, (_, values) in zip(marks, self.fields, strict=True)
            for value in values
        )
