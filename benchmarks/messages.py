"""News of about 430 bytes for the benchmark's topic: all good, all of one type, dates in three forms."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Iterator

from confluent_kafka import Producer

MESSAGE_BYTES = 430
_SHANGHAI = dt.timezone(dt.timedelta(hours=8))
_START = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.timezone.utc)
_DATES: tuple[Callable[[dt.datetime], str], ...] = (
    lambda at: f"{at:%Y-%m-%dT%H:%M:%S}Z",
    lambda at: f"{at.astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}",
    lambda at: f"{at.astimezone(_SHANGHAI):%Y/%m/%d %H:%M}",
)
_SUBJECTS = ("Vega Foods", "东方海运集团", "Nordbank", "Atlas Copper", "华山制药", "Blue Ridge Rail")
_EVENTS = ("raises its outlook for the year", "上调全年业绩预期", "delays the launch of a plant", "宣布回购股份")
_BODY = (
    "The company said on Monday that orders grew faster than expected, while costs stayed flat. "
    "分析师认为，新产线将在下半年贡献收入。 Shares rose in early trade. "
)  # fmt: skip


def news(seed: int = 1, *, has_rising_ids: bool = False) -> Iterator[bytes]:
    """Endless values of MESSAGE_BYTES bytes, give or take two; the same for the same seed.

    has_rising_ids: ids as a source counts them up, else as random as a UUID.
    """
    draw = random.Random(seed)
    number = 0
    while True:
        number += 1
        at = _START + dt.timedelta(milliseconds=50 * number)
        fields = {
            "type": "information",
            "id": f"{0 if has_rising_ids else draw.getrandbits(32):08x}{number:08x}",
            "title": f"{draw.choice(_SUBJECTS)} {draw.choice(_EVENTS)}",
            "content": "",
            "source": {"name": "Morning Wire", "url": f"https://wire.example/{number}"},
            "language": draw.choice(("en", "zh")),
            "tags": draw.sample(("earnings", "政策", "shipping"), 2),
            "score": draw.randrange(-100, 101),
            "isOriginal": draw.random() < 0.4,
            "publishTime": draw.choice(_DATES)(at),
            "crawlTime": f"{at + dt.timedelta(seconds=draw.randrange(5, 600)):%Y-%m-%dT%H:%M:%S}Z",
        }
        room = MESSAGE_BYTES - len(_encode(fields))
        fields["content"] = (_BODY * (1 + room // 100)).encode()[:room].decode(errors="ignore")
        yield _encode(fields)


def _encode(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def produce(
    bootstrap: str,
    topic: str,
    messages: int,
    *,
    partitions: int,
    has_rising_ids: bool = False,
    write: Callable[[bytes], bytes] = bytes,
) -> None:
    """Send the first `messages` news to an existing topic, to its partitions in turn, and wait for the broker.

    write: makes of a message's JSON what is sent (benchmarks/formats.py).

    Raises RuntimeError where the broker did not take them all.
    """
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 1_000_000, "acks": "all"})
    for number, value in zip(range(messages), news(has_rising_ids=has_rising_ids), strict=False):
        sent = write(value)
        while True:
            try:
                producer.produce(
                    topic,
                    sent,
                    partition=number % partitions,
                    on_delivery=lambda error, _message: failed.append(error) if error else None,
                )
            except BufferError:
                producer.poll(0.1)
                continue
            break
        if number % 1_000 == 0:
            producer.poll(0)
    left = producer.flush(60)
    if failed or left:
        raise RuntimeError(f"{len(failed)} messages refused ({failed[:1]}), {left} not acknowledged")
