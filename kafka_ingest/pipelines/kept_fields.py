"""Which messages do not carry a kept column's field, as they are decoded."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from kafka_ingest.streams.kept import ABSENT
from kafka_ingest.streams.model import BoundColumn

Mask = npt.NDArray[np.bool_]


class KeptFields:
    """The values of one kept column, as a reader gives them, piece by piece."""

    def __init__(self, bound: BoundColumn) -> None:
        self.name = bound.name
        self._is_json = isinstance(bound.column.type, sa.JSON) and bound.rule.cast is None
        self._markers = frozenset(_markers(bound.rule.keep_absent, is_json=self._is_json))
        self._masks: list[Mask] = []

    def take(self, values: list[Any]) -> list[Any]:
        """The values as every column has them: of those that are absent, what stands for a missing one."""
        gone = [value is ABSENT for value in values]
        if self._markers:
            gone = [each or self._is_marker(value) for each, value in zip(gone, values, strict=True)]
        mask = np.array(gone, dtype=bool)
        self._masks.append(mask)
        missing = b"" if self._is_json else None
        if mask.any():
            values = [missing if each else value for each, value in zip(gone, values, strict=True)]
        return [b"" if value is None else value for value in values] if self._is_json else values

    def absent(self) -> Mask:
        """Which of all values were absent, in the order they came."""
        return np.concatenate(self._masks)

    def _is_marker(self, value: Any) -> bool:
        if self._is_json:
            return value is not None and value is not ABSENT and bytes(value) in self._markers
        return isinstance(value, str | bytes) and value in self._markers


def _markers(keep_absent: bool | str, *, is_json: bool) -> list[str | bytes]:
    """How a text that stands for an absent value is written: itself; of columns of bytes its bytes, as such or in base64; of
    arrays one in an array, as Debezium does."""
    if not isinstance(keep_absent, str):
        return []
    data = keep_absent.encode()
    texts = [keep_absent, base64.b64encode(data).decode()]
    if not is_json:
        return [*texts, data]
    written = [json.dumps(text, ensure_ascii=is_ascii) for text in texts for is_ascii in (True, False)]
    return [text.encode() for each in written for text in (each, f"[{each}]")]
