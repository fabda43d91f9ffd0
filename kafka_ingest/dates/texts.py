"""Text as bytes in a grid, grouped by shape.

A text's shape is the text with every ASCII digit as `0`, every ASCII letter as `a`, and everything else as it is:
`2024-05-01T12:30Z` has the shape `0000-00-00a00:00a`. A column of any length has few shapes, so what is decided once
per shape costs nothing, and all texts of a shape have their fields in the same byte columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.dates.wallclock import Array

# Rows per round: the grid of a round stays within a few megabytes, and a group number fits 16 bits (radix sort).
CHUNK_ROWS = 1 << 16
# Grid widths in bytes. The first holds all usual dates; longer text takes a second, wider and rarer round; text beyond
# the last width is no date.
WIDTHS = (40, 128)

# Characters of Chinese dates become one byte each, one that valid UTF-8 never contains; full-width forms and the spaces that
# keep a line together or are of another width become ASCII.
_NO_BREAK_SPACE = "\u00a0"
_CHINESE = dict(zip("年月日号时分秒点上下午", "\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff", strict=True))
_FOLDED = {
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys("\u2007\u2009\u202f\u3000", " "),
    **_CHINESE,
    **{old: _CHINESE[new] for old, new in (("號", "号"), ("時", "时"), ("點", "点"))},
}
_FOLD_TABLE = str.maketrans(_FOLDED | {_NO_BREAK_SPACE: " "})
_FOLD_FROM, _FOLD_TO = (
    np.array(column, dtype=np.int64)
    for column in zip(
        *sorted((int.from_bytes(old.encode(), "big"), ord(new)) for old, new in _FOLDED.items()), strict=True
    )
)
_SPACE_CODE = int.from_bytes(_NO_BREAK_SPACE.encode(), "big")  # two bytes, where all the others have three

_CLASSES = np.arange(256, dtype=np.uint8)
_CLASSES[0] = 0xC0  # 0 pads shapes, so a NUL in a text needs another class, one that valid UTF-8 never contains
_CLASSES[ord("0") : ord("9") + 1] = ord("0")
_CLASSES[ord("A") : ord("Z") + 1] = ord("a")
_CLASSES[ord("a") : ord("z") + 1] = ord("a")


def shape_text(text: str) -> str:
    """Text, or the pattern of a shape, as shapes have it: one character a byte of the grid, but for digits and letters."""
    return "".join(
        letter
        if letter.isascii()
        else _FOLD_TABLE.get(ord(letter)) or letter.encode("utf-8", "replace").decode("latin-1")
        for letter in text
    )


def by_shape(texts: pa.LargeStringArray) -> Iterator[tuple[Array, Array, str]]:
    """Row numbers, their bytes (rows x columns) and their shape, for each shape; a blank text's shape is empty.

    `texts` is a large_string array without nulls. Rows whose text is longer than the widest grid do not come out.
    """
    for first in range(0, len(texts), CHUNK_ROWS):
        data, starts, lengths = _bytes(texts.slice(first, CHUNK_ROWS))
        shorter = -1
        for width in WIDTHS:
            rows = np.flatnonzero((lengths > shorter) & (lengths <= width))
            shorter = width
            if len(rows):
                for at, grid, shape in _grids(data, starts[rows], lengths[rows], width):
                    yield rows[at] + first, grid, shape


def _bytes(texts: pa.LargeStringArray) -> tuple[Array, Array, Array]:
    """The trimmed, folded bytes of all texts, padded by the widest grid, and each text's start and length."""
    data, offsets = _buffers(texts)
    edges = data[np.concatenate((offsets[:-1], offsets[1:] - 1))[np.tile(np.diff(offsets) > 0, 2)]]
    if ((edges <= ord(" ")) | (edges > ord("~"))).any():
        data, offsets = _buffers(pc.utf8_trim_whitespace(texts))
    candidates = np.flatnonzero(data >= 0xC2)  # the lowest lead byte among the characters to fold
    if len(candidates):
        tail = np.concatenate((data, np.zeros(2, dtype=np.uint8)))
        codes = (tail[candidates].astype(np.int64) << 16) | (tail[candidates + 1].astype(np.int64) << 8)
        is_space = codes >> 8 == _SPACE_CODE
        codes |= tail[candidates + 2]
        found = np.minimum(np.searchsorted(_FOLD_FROM, codes), len(_FOLD_FROM) - 1)
        folded = _FOLD_FROM[found] == codes
        at, spaces = candidates[folded], candidates[is_space]
        keep = np.ones(len(data), dtype=bool)
        keep[at + 1] = keep[at + 2] = keep[spaces + 1] = False
        data = data.copy()
        data[at] = _FOLD_TO[found[folded]]
        data[spaces] = ord(" ")
        data = data[keep]
        offsets = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(keep)))[offsets]
    return np.concatenate((data, np.zeros(WIDTHS[-1], dtype=np.uint8))), offsets[:-1], np.diff(offsets)


def _buffers(texts: pa.LargeStringArray) -> tuple[Array, Array]:
    _, offset_buffer, data_buffer = texts.buffers()
    assert offset_buffer is not None  # noqa: S101  text may lack data, but has offsets
    offsets = np.frombuffer(memoryview(offset_buffer), dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if data_buffer is None or offsets[0] == offsets[-1]:
        return np.zeros(0, dtype=np.uint8), offsets - offsets[0]
    return np.frombuffer(memoryview(data_buffer), dtype=np.uint8)[offsets[0] : offsets[-1]], offsets - offsets[0]


def _grids(data: Array, starts: Array, lengths: Array, width: int) -> Iterator[tuple[Array, Array, str]]:
    windows: Array = np.ndarray((len(data) - width + 1,), dtype=f"V{width}", buffer=data, strides=(1,))
    grid = windows[starts].view(np.uint8).reshape(len(starts), width)
    shapes = _CLASSES[grid]  # beyond a text's end the grid has its neighbour's bytes; no layout reads them
    shapes *= np.arange(width, dtype=np.uint8) < lengths.astype(np.uint8)[:, None]
    group = np.zeros(len(grid), dtype=np.int64)
    for word in shapes.view(np.uint64).T:
        codes, distinct = pd.factorize(np.ascontiguousarray(word))
        if len(distinct) > 1:
            group, _ = pd.factorize(group * len(distinct) + codes)
    order = np.argsort(group.astype(np.uint16), kind="stable")
    grid = grid[order]
    bounds = [0, *(np.flatnonzero(np.diff(group[order])) + 1).tolist(), len(order)]
    for low, high in pairwise(bounds):
        at = order[low:high]
        yield at, grid[low:high], shapes[at[0], : lengths[at[0]]].tobytes().decode("latin-1")
