"""Messages nobody would send: good and bad ones with bytes changed, cut, spliced, and fields with values of any kind."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np

from kafka_ingest.slices import Headers
from kafka_ingest.testing.models import FIELDS
from kafka_ingest_tests.e2e.news import news

# Bytes that mean something to JSON, UTF-8, LOAD DATA, dates.
_BYTES = np.frombuffer(
    b'"\\{}[]:,-+.eE0159 \t\n\r\x00\x1d\x1e\x1f\x7f\xff\xc0\xed\xa0\xf0\x9f\xe2ntfuN/TZ', dtype=np.uint8
)
# JSON values, the odd ones of each kind.
_EDGES_TEXT = r"""
null | true | false | 0 | -0 | 1 | -1 | 7 | 1.5 | 1e9 | 1e999 | -1e999 | 1E400 | 1e-400 | 32767 | 32768 | -32769 | 2147483647
2147483648 | 9223372036854775807 | 9223372036854775808 | 18446744073709551616 | -9223372036854775809 | 20240501 | 20240230
99999999 | 1714550400 | 1714550400000 | 1714550400000000 | 1714550400000000000 | 0.1 | 0.10000000000000001 | 123456789.12345
99999999.99995 | 1e15 | 12345678901234567890 | "" | " " | "x" | "\u0000" | "\ud800" | "\ud83d\ude00" | "NULL" | "\\N" | "NaN"
"sNaN" | "Infinity" | "-0" | "1_0" | "1e5" | "12.5" | "1e99999" | "2024-05-01" | "2024-02-30" | "0000-00-00" | "0001-01-01"
"9999-12-31T23:59:59.999999+14:00" | "9999-12-31T23:59:59.999999-14:00" | "1000-01-01" | "2024-05-01T12:30:15Z"
"2024-03-31 02:30" | "2024-10-27 01:30" | "2024-05-01 24:00" | "2024-05-01T23:59:60" | "1/2/2024" | "31/12/2024" | "2024年5月1日"
"2024年5月1日下午1:30" | "Wed, 01 May 2024 12:30:00 +0800" | "1 May 2024 12:30 GMT" | "May 1, 2024" | "01.05.2024 12:30"
"2024-05-01 12:30:15,123456789+08:00" | "01-05-24 12:30" | "1714550400" | "1714550400.5" | "-1" | "1e10" | "+1" | "now"
"２０２４－０５－０１" | "2024-W18-3" | [] | {} | [1] | [[[]]] | {"name":"n"} | {"name":null,"seen":"x"} | {"seen":1714550400}
{"a":{"b":{}}} | [null,1.5,"x",{}] | {"":0} | "\u001d\u001e\u001f" | "\u001dN" | NaN | Infinity | 01 | .5 | 1. | 'x' | "\x" | "
"""
_EDGES = [each.strip() for line in _EDGES_TEXT.strip().splitlines() for each in line.split(" | ")]
_NEWS = ("title", "publishTime", "crawlTime", "score", "isOriginal", "tags", "content", "issuer", "announcedAt")
_NAMES = ["type", *FIELDS, *_NEWS]


class Mutator:
    """The same messages for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        known = [message.value for message in islice(news(seed, 4_000, bad_ratio=0.2), 4_000)]
        # The one of 200 kB (nesting) would take all the time; it comes as it is, seldom.
        self._corpus = [value for value in known if value is not None and len(value) < 2_000]
        good = [message.value for message in news(seed, 1_000, bad_ratio=0.0) if message.value is not None]
        small = [b'{"type":"e","id":"x"}', b'{"type":"account","id":"k1","balance":5}']
        self._good = [value for value in good if len(value) < 2_000] + small * 400
        self._deep = b'{"type":"e","data":' + b"[" * 100_000

    def values(self, count: int) -> list[bytes | None]:
        """Message values: a mixture of all kinds below."""
        kinds: list[tuple[float, Callable[[int], Sequence[bytes | None]]]] = [
            (0.4, self._changed),
            (0.4, self._assembled),
            (0.1, self._spliced),
            (0.05, self._noise),
            (0.05, lambda n: [None] * n),
        ]
        found: list[bytes | None] = []
        for share, make in kinds:
            found += make(int(count * share))
        found += self._changed(count - len(found))
        found[-1] = self._deep
        self._random.shuffle(found)
        return found

    def keys(self, count: int) -> list[bytes | None]:
        """Message keys: none, ids, JSON of any kind, noise."""
        choices = [
            None,
            None,
            b"k1",
            b"a7",
            b'"k1"',
            b'{"id":"k1"}',
            b'{"id":null}',
            b'{"room":"r","hour":7}',
            b'{"room":"r","hour":"7"}',
            b"\xff",
            b"",
            b"1e999",
            b"[" * 2_000,
        ]
        choices += [edge.encode() for edge in _EDGES]
        return self._random.choices(choices, k=count)

    def headers(self, count: int) -> list[Headers | None]:
        """Message headers: none, routes under the name `kind`, under others, twice, without a value, noise."""
        random_ = self._random
        values = [
            None,
            b"e",
            b"account",
            b"information",
            b"announcement",
            b"booking",
            b"",
            b"\xff\xfe",
            b"E",
            b"e ",
            b"x" * 300,
        ]
        values += [edge.encode("utf-8", "surrogatepass") for edge in _EDGES[::7]]
        found: list[Headers | None] = []
        for size in random_.choices((None, 0, 1, 1, 1, 2, 3), k=count):
            names = random_.choices(("kind", "kind", "kind", "Kind", "", "\0", "x" * 200), k=size or 0)
            found.append(None if size is None else list(zip(names, random_.choices(values, k=size), strict=True)))
        return found

    def dates(self, count: int) -> list[object]:
        """Values of a date column: texts with characters changed, numbers of any size, and what is neither."""
        edges: list[object] = []
        for edge in _EDGES:
            try:
                edges.append(json.loads(edge))
            except ValueError:
                continue
        texts = [value for value in edges if isinstance(value, str)]
        random_ = self._random
        alphabet = "0123456789-/.:T Z+年月日時,MayWed\x00é１"
        found: list[object] = random_.choices(edges, k=count // 4)
        found += [
            random_.randint(-(2 ** random_.randint(1, 70)), 2 ** random_.randint(1, 70)) for _ in range(count // 4)
        ]
        found += [random_.uniform(-1e20, 1e20) for _ in range(count // 16)]
        while len(found) < count:
            text = random_.choice(texts)
            at = random_.randint(0, len(text))
            cut = random_.randint(0, 2)
            found.append(text[:at] + "".join(random_.choices(alphabet, k=random_.randint(0, 3))) + text[at + cut :])
        random_.shuffle(found)
        return found

    def _changed(self, count: int) -> list[bytes]:
        """Known messages with up to four bytes changed, and often cut: all of them at once, in one buffer."""
        chosen = self._random.choices(self._corpus, k=count)
        lengths = np.fromiter(map(len, chosen), dtype=np.int64, count=count)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        buffer = np.frombuffer(b"".join(chosen), dtype=np.uint8).copy()
        if not len(buffer):
            return chosen
        for share in (0.9, 0.5, 0.3, 0.2):
            hit = np.flatnonzero((self._numbers.random(count) < share) & (lengths > 0))
            at = starts[hit] + (self._numbers.random(len(hit)) * lengths[hit]).astype(np.int64)
            buffer[at] = self._numbers.choice(_BYTES, len(hit))
        cut = self._numbers.random(count) < 0.1
        ends = np.where(cut, starts + (self._numbers.random(count) * lengths).astype(np.int64), ends)
        data = buffer.tobytes()
        return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _assembled(self, count: int) -> list[bytes]:
        """Good messages whose fields are said again, with any value: the last one counts."""
        random_ = self._random
        found = []
        for base in random_.choices(self._good, k=count):
            names = random_.choices(_NAMES, k=random_.choice((0, 1, 1, 1, 2, 3, 6)))
            values = random_.choices(_EDGES, k=len(names))
            fields = "".join(f',"{name}":{value}' for name, value in zip(names, values, strict=True))
            found.append(base[:-1] + fields.encode("utf-8", "surrogatepass") + b"}")
        return found

    def _spliced(self, count: int) -> list[bytes]:
        random_ = self._random
        one, two = random_.choices(self._corpus, k=count), random_.choices(self._corpus, k=count)
        return [
            a[: random_.randint(0, len(a))] + b[random_.randint(0, len(b)) :] for a, b in zip(one, two, strict=True)
        ]

    def _noise(self, count: int) -> list[bytes]:
        return [self._random.randbytes(self._random.randint(0, 60)) for _ in range(count)]
