"""Tombstones a second, on one real database: beside upserts of the same keys, and beside the server's own DELETE.

    python -m benchmarks.deletes [--database mysql] [--messages 200000] [--rounds 3] [--json FILE]

From parsed slices to committed transactions, so neither Kafka nor decoding counts. The limit is one statement for each slice that
deletes the same rows by a join with a table of their keys, which stands there already: no tombstones are kept, no message is
accounted for. Medians; ratios are taken round by round.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from benchmarks.command import Figures, loading_parser, table, write_json
from benchmarks.servers import database_server
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target

_SLICE = 50_000
_TOPIC = "accounts"


class Account(UpsertModel):
    """Nine columns, one of them with an index."""

    __tablename__ = "account"
    delete_on_tombstone = True
    id: sa.orm.Mapped[int] = field(sa.Integer, primary_key=True)
    owner: sa.orm.Mapped[str] = field(sa.String(60), index=True)
    a: sa.orm.Mapped[str] = field(sa.String(60))
    b: sa.orm.Mapped[str] = field(sa.String(60))
    c: sa.orm.Mapped[str] = field(sa.String(60))


STREAM = Stream(name=_TOPIC, topics=_TOPIC, routes={_TOPIC: Account}, route_by=RouteByTopic())


def _slices(keys: Sequence[int], start: int, *, is_delete: bool) -> Iterator[Part]:
    for first in range(0, len(keys), _SLICE):
        some = [
            Msg(
                None if is_delete else {"id": k, "owner": f"{k:040}", "a": "x" * 40, "b": "y" * 40, "c": "z" * 40},
                b"%d" % k,
            )
            for k in keys[first : first + _SLICE]
        ]
        yield Part(some, _TOPIC, 0, start + first)


def _loading(sink: Sink, parts: Iterator[Part]) -> float:
    """Seconds of the loads alone."""
    found = 0.0
    for part in parts:
        parsed = piped(STREAM, raw_slice(part))
        begun = time.perf_counter()
        load(sink, parsed, "live", LoadContext(STREAM, "bench"))
        found += time.perf_counter() - begun
    return found


def _deleting(sink: Sink, keys: Sequence[int]) -> float:
    """Seconds of the server's own DELETE of these rows, a transaction for as many keys as a slice has."""
    listed = sa.Table("listed", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=False))
    account = Account.__table__
    found = 0.0
    for first in range(0, len(keys), _SLICE):
        with sink.engine.begin() as connection:
            listed.drop(connection, checkfirst=True)
            listed.create(connection)
            connection.execute(sa.insert(listed), [{"id": key} for key in sorted(keys[first : first + _SLICE])])
        begun = time.perf_counter()
        with sink.engine.begin() as connection:
            connection.execute(sa.delete(account).where(account.c.id == listed.c.id))
        found += time.perf_counter() - begun
    return found


def _round(sink: Sink, messages: int) -> dict[str, float]:
    """Seconds of each case, all keys in random order."""
    Target(STREAM, sink).pin({TopicPartition(_TOPIC, 0): 0})
    keys = random.Random(messages).sample(range(messages), messages)
    other_keys = [key + messages for key in keys]
    starts = iter(range(0, 10 * messages, messages))
    found = {
        "upserts of new keys": _loading(sink, _slices(keys, next(starts), is_delete=False)),
        "tombstones of rows that are there": _loading(sink, _slices(keys, next(starts), is_delete=True)),
        "tombstones of keys that are not": _loading(sink, _slices(other_keys, next(starts), is_delete=True)),
    }
    _loading(sink, _slices(keys, next(starts), is_delete=False))
    return found | {"the server's DELETE": _deleting(sink, keys)}


def measure(database: str, messages: int, rounds: int) -> Figures:
    """Of each case: messages a second, and the median ratio to the server's DELETE."""
    taken: list[dict[str, float]] = []
    with database_server(database) as server:
        for number in range(rounds):
            server.create_database(f"bench{number}")
            sink = open_sink(sa.make_url(server.url(f"bench{number}")))
            taken.append(_round(sink, messages))
            sink.close()
    return {
        case: {
            "per_second": messages / statistics.median(each[case] for each in taken),
            "ratio": statistics.median(each["the server's DELETE"] / each[case] for each in taken),
        }
        for case in taken[0]
    }


def main() -> None:
    options = loading_parser("deletes", __doc__, messages=200_000, rounds=3).parse_args()
    found = measure(options.database, options.messages, options.rounds)
    rows = [[case, f"{f['per_second']:,.0f}", f"{f['ratio']:.2f}"] for case, f in found.items()]
    print(table(["case", "messages/s", "of the server's DELETE"], rows))
    write_json(options.json, found)


if __name__ == "__main__":
    main()
