"""News messages that know what must become of them: the tests' own computation, which shares no code with the package."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from confluent_kafka import Producer

SHANGHAI = ZoneInfo("Asia/Shanghai")
UTC = dt.timezone.utc

TITLES = [
    "Stocks rally",
    "市场上涨 📈",
    "سوق الأسهم",
    'He said "no", \\ twice',
    "tab\there",
    "line\nbreak",
    "NULL",
    "\\N",
    "ünïcode",
    "",
]
BODIES = [
    "short",
    "y" * 300,
    "nul \x00 inside",
    'quotes ""\' and commas, too',
    "emoji 😀👩‍👩‍👧",
    "back\\slash\\",
    "长文" * 200,
]
# Each writes an instant, given in UTC; the second value is the precision it keeps.
FORMATS: dict[str, tuple[Any, str]] = {
    "iso_z": (lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"), "s"),
    "iso_offset": (
        lambda t: t.astimezone(dt.timezone(dt.timedelta(hours=-5))).isoformat(timespec="microseconds"),
        "us",
    ),
    "iso_millis_z": (lambda t: t.strftime("%Y-%m-%dT%H:%M:%S.") + f"{t.microsecond // 1000:03d}Z", "ms"),
    "epoch_s": (lambda t: int(t.timestamp()), "s"),
    "epoch_ms": (lambda t: int(t.timestamp()) * 1000 + t.microsecond // 1000, "ms"),
    "epoch_ms_text": (lambda t: str(int(t.timestamp()) * 1000 + t.microsecond // 1000), "ms"),
    "rfc_2822": (lambda t: t.strftime("%a, %d %b %Y %H:%M:%S +0000"), "s"),
}
# Each writes wall-clock time in the column's zone.
NAIVE_FORMATS: dict[str, tuple[Any, str]] = {
    "plain": (lambda w: w.strftime("%Y-%m-%d %H:%M:%S"), "s"),
    "plain_us": (lambda w: w.strftime("%Y-%m-%d %H:%M:%S.%f"), "us"),
    "slashes": (lambda w: w.strftime("%Y/%m/%d %H:%M"), "min"),
    "compact": (lambda w: w.strftime("%Y%m%d%H%M%S"), "s"),
    "chinese": (lambda w: f"{w.year}年{w.month}月{w.day}日 {w.hour}时{w.minute}分", "min"),
    "dots": (lambda w: w.strftime("%d.%m.%Y %H:%M:%S"), "s"),
}


@dataclass(frozen=True)
class News:
    """One message. `row` is (table, expected values) for a good one, None for one that must be a dead letter."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] | None
    row: tuple[str, dict[str, Any]] | None
    partition: int | None = None


def _keep(instant: dt.datetime, precision: str) -> dt.datetime:
    kept = {"us": instant.microsecond, "ms": instant.microsecond // 1000 * 1000}.get(precision, 0)
    instant = instant.replace(microsecond=kept)
    return instant.replace(second=0) if precision == "min" else instant


def _date(random_: random.Random, zone: dt.tzinfo) -> tuple[Any, dt.datetime]:
    """A written date and the naive UTC value that must be stored."""
    instant = dt.datetime.fromtimestamp(random_.uniform(1.2e9, 1.8e9), UTC)
    name = random_.choice([*FORMATS, *NAIVE_FORMATS])
    if name in FORMATS:
        write, precision = FORMATS[name]
        return write(instant), _keep(instant, precision).replace(tzinfo=None)
    write, precision = NAIVE_FORMATS[name]
    wall = instant.astimezone(zone)
    return write(wall), _keep(wall, precision).astimezone(UTC).replace(tzinfo=None)


def news(seed: int, count: int, bad_ratio: float = 0.03, partitions: int = 4) -> Iterator[News]:
    """`count` messages, the same for the same seed. Announcements of one id go to one partition, as Kafka's keys do."""
    random_ = random.Random(seed)
    for number in range(count):
        if random_.random() < bad_ratio:
            yield _bad(random_, number, partitions)
        elif random_.random() < 0.25:
            yield _announcement(random_, partitions)
        else:
            yield _information(random_, number, partitions)


def as_stored(messages: Iterable[News], database_url: str) -> Iterator[News]:
    """Messages of which this database can hold what they say: to PostgreSQL text with U+0000 is a dead letter. Announcements have
    none there, as one that another of its slice replaces is not tried."""
    is_refused = sa.make_url(database_url).get_backend_name() == "postgresql"
    for each in messages:
        if not is_refused or each.row is None or b"\\u0000" not in (each.value or b""):
            yield each
        elif each.row[0] == "information":
            yield replace(each, row=None)
        else:
            table, expected = each.row
            value = (each.value or b"").replace(b"\\u0000", b"")
            yield replace(each, value=value, row=(table, expected | {"body": expected["body"].replace("\0", "")}))


def _information(random_: random.Random, number: int, partitions: int) -> News:
    published, publish_time = _date(random_, SHANGHAI)
    crawled, crawl_time = _date(random_, UTC)
    if random_.random() < 0.05:
        crawled, crawl_time = random_.choice([(None, None), ("", None), ("yesterday, I think", None)])  # type: ignore[assignment]
    tags = random_.choice([None, [], ["a", "b"], {"k": [1, 2.5, None, 'q"']}])
    message: dict[str, Any] = {
        "type": "information",
        "id": random_.choice([f"n{number}", number]),
        "title": random_.choice(TITLES),
        "content": random_.choice([*BODIES, None]),
        "source": random_.choice(
            [{"name": "Reuters", "url": f"https://example.org/{number}"}, {"name": "新华社"}, {}, None]
        ),
        "language": random_.choice(["en", "zh", None]),
        "tags": tags,
        "score": random_.choice([0, -5, 2**31 - 1, None]),
        "isOriginal": random_.choice([True, False, None]),
        "publishTime": published,
        "crawlTime": crawled,
        "not a column": {"deep": [[[]]]},
    }
    if random_.random() < 0.2:
        del message["language"]
    source = message["source"] or {}
    expected = {
        "id": str(message["id"]),
        "title": message["title"],
        "content": message["content"],
        "source": source.get("name"),
        "url": source.get("url"),
        "language": message.get("language"),
        "tags": tags,
        "score": message["score"],
        "is_original": message["isOriginal"],
        "publish_time": publish_time,
        "crawl_time": crawl_time,
    }
    text = json.dumps(message, ensure_ascii=random_.random() < 0.5, indent=random_.choice([None, None, 2]))
    return News(None, text.encode(), None, ("information", expected), random_.randrange(partitions))


def _announcement(random_: random.Random, partitions: int) -> News:
    which = random_.randrange(700)
    announced, announced_at = _date(random_, SHANGHAI)
    effective, effective_on = _date(random_, UTC)
    expected = {
        "id": f"{'A' if which % 2 else 'a'}{which // 2}",  # differs by case alone: two keys
        "company": random_.choice(["ACME", "万科企业股份有限公司", 'O\'Neil & "Sons"']),
        "stock_code": random_.choice(["600000", None]),
        "title": random_.choice(TITLES),
        "body": random_.choice(BODIES),
        "announced_at": announced_at,
        "effective_on": effective_on,
    }
    message = {
        "type": "announcement",
        "id": expected["id"],
        "issuer": {"company": expected["company"], "code": expected["stock_code"]},
        "title": expected["title"],
        "body": expected["body"],
        "announcedAt": announced,
        "effectiveOn": effective,
    }
    key = str(expected["id"]).encode()
    text = json.dumps(message, ensure_ascii=False).encode()
    return News(key, text, [("trace", b"\x00\xff")], ("announcement", expected), which % partitions)


def _bad(random_: random.Random, number: int, partitions: int) -> News:
    good = {"type": "information", "id": f"bad{number}", "title": "t", "publishTime": "2024-05-01"}
    announcement = {
        "type": "announcement",
        "id": "a1",
        "issuer": {"company": "c"},
        "title": "t",
        "announcedAt": "2024-05-01",
    }
    values: list[bytes | None] = [
        None,
        b"",
        b"   ",
        b"{broken",
        b'{"type": "information"} trailing',
        b"\xff\xfe{}",
        b'{"type": "information", "id": "\xff", "title": "t", "publishTime": "2024-05-01"}',
        b"[]",
        b'"text"',
        b"null",
        b"NaN",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        json.dumps(good | {"type": "unheard of"}).encode(),
        json.dumps({k: v for k, v in good.items() if k != "type"}).encode(),
        json.dumps(good | {"type": ["information"]}).encode(),
        json.dumps(good | {"title": None}).encode(),
        json.dumps({k: v for k, v in good.items() if k != "title"}).encode(),
        json.dumps(good | {"title": 1.5}).encode(),
        json.dumps(good | {"title": "x" * 501}).encode(),
        json.dumps(good | {"score": 2**31}).encode(),
        json.dumps(good | {"score": 10**30}).encode(),
        json.dumps(good | {"score": "7"}).encode(),
        json.dumps(good | {"isOriginal": 1}).encode(),
        json.dumps(good | {"source": "Reuters"}).encode(),
        json.dumps(good | {"publishTime": "32 May 2024"}).encode(),
        json.dumps(good | {"publishTime": ""}).encode(),
        json.dumps(good | {"publishTime": None}).encode(),
        json.dumps(good | {"publishTime": True}).encode(),
        json.dumps(good | {"publishTime": "2024-02-30"}).encode(),
        json.dumps(good | {"id": "i" * 65}).encode(),
        b'{"type": "information", "id": "\\ud800", "title": "t", "publishTime": "2024-05-01"}',
        json.dumps(announcement | {"id": None}).encode(),
        json.dumps(announcement | {"issuer": {}}).encode(),
        json.dumps(announcement | {"announcedAt": "soon"}).encode(),
    ]
    key = random_.choice([None, b"\x00\xffkey", b""])
    headers = random_.choice([None, [("h", b"v"), ("h", b"\xff")]])
    return News(key, values[number % len(values)], headers, None, random_.randrange(partitions))


Position = tuple[int, int]


@dataclass
class Truth:
    """What the tables must hold, by (Kafka partition, offset)."""

    information: dict[Position, dict[str, Any]] = field(default_factory=dict)
    announcement: dict[str, tuple[Position, dict[str, Any]]] = field(default_factory=dict)
    dead_letters: dict[Position, News] = field(default_factory=dict)
    total: int = 0

    def add(self, message: News, position: Position) -> None:
        self.total += 1
        if message.row is None:
            self.dead_letters[position] = message
        elif message.row[0] == "information":
            self.information[position] = message.row[1]
        else:
            known = self.announcement.get(message.row[1]["id"])
            if known is None or known[0] < position:
                self.announcement[message.row[1]["id"]] = (position, message.row[1])


def produce(
    bootstrap_servers: str,
    topic: str,
    messages: Iterator[News],
    truth: Truth,
    *,
    timestamp_ms: Callable[[int], int] = lambda _number: 0,
) -> None:
    """Send the messages and note where each came to stand. `timestamp_ms` gives message number n its Kafka timestamp; 0: now."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 5, "enable.idempotence": True})
    failed: list[str] = []

    def delivered(message: News) -> Any:
        def report(error: Any, record: Any) -> None:
            if error is not None:
                failed.append(str(error))
            else:
                truth.add(message, (record.partition(), record.offset()))

        return report

    for number, message in enumerate(messages):
        producer.produce(
            topic,
            message.value,
            message.key,
            partition=-1 if message.partition is None else message.partition,
            headers=None if message.headers is None else [*message.headers],
            timestamp=timestamp_ms(number),
            on_delivery=delivered(message),
        )
        producer.poll(0)
    producer.flush(60)
    assert not failed, failed[:3]
