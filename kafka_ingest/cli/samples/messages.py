"""Sample messages of the example stream (`kafka_ingest.streams.information`): pure, endless, the same for the same seed."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from kafka_ingest.cli.samples.dates import any_date
from kafka_ingest.cli.samples.faults import FAULTS, encode_fields
from kafka_ingest.cli.samples.texts import ISSUERS, NOTICES, OUTLETS, STORIES, SUBJECTS, TAGS

BAD_KINDS = tuple(FAULTS)
"""What `SampleMessage.bad` may be."""

DEFAULT_TIME = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.timezone.utc)
_NEWS_SHARE = 0.8
_CORRECTION_SHARE = 0.25
# How many announcements back a correction may reach.
_CORRECTABLE = 500


@dataclass(frozen=True, slots=True)
class SampleMessage:
    """One Kafka message.

    route: its message type where the message says it readably, else None.
    bad: the kind of badness, one of BAD_KINDS, for a message that must become a dead letter; None for one that must
         become a row.
    """

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    route: str | None
    bad: str | None


@dataclass(slots=True)
class _State:
    rng: random.Random
    now: dt.datetime
    number: int = 0
    announced: list[str] = field(default_factory=list)


def sample_messages(seed: int, bad_ratio: float, *, time: dt.datetime = DEFAULT_TIME) -> Iterator[SampleMessage]:
    """Endless messages; two calls with the same arguments give the same ones.

    bad_ratio: part of bad messages, 0 to 1. Their kinds take turns, so all come up within the first
               `len(BAD_KINDS)` bad ones.
    time: when the first message is published; each later one is some milliseconds younger.

    A correction of an announcement has the key and id of an earlier one and comes after it, so the number of rows of
    table `announcement` is the number of different ids among the good announcements.
    """
    state = _State(random.Random(seed), time)  # noqa: S311  no secret
    kinds: list[str] = []
    while True:
        state.number += 1
        state.now += dt.timedelta(milliseconds=state.rng.randrange(1, 100))
        is_bad = state.rng.random() < bad_ratio
        fields = _news(state) if state.rng.random() < _NEWS_SHARE else _announcement(state, is_bad)
        key = str(fields["id"]).encode() if state.rng.random() < 0.95 or not _is_news(fields) else None
        if not is_bad:
            yield SampleMessage(key, _good_value(state.rng, fields), _headers(state), str(fields["type"]), None)
            continue
        if not kinds:
            kinds = list(BAD_KINDS)
            state.rng.shuffle(kinds)
        kind = kinds.pop()
        value = FAULTS[kind](state.rng, fields)
        yield SampleMessage(key, value, _headers(state), _route(value), kind)


def _is_news(fields: dict[str, object]) -> bool:
    return bool(fields["type"] == "information")


def _news(state: _State) -> dict[str, object]:
    rng = state.rng
    story, outlet = rng.choice(STORIES), rng.choice(OUTLETS)
    number = f"{rng.getrandbits(32):08x}{state.number:08x}"
    fields: dict[str, object] = {
        "type": "information",
        "id": number,
        "title": story.title.format(rng.choice(SUBJECTS)),
        "content": "\n\n".join([story.body] * rng.randrange(1, 6)),
        "source": {"name": outlet.name, "url": f"https://{outlet.host}/{story.language}/{number}?from=首页", "rank": 3},
        "language": story.language,
        "tags": rng.sample(TAGS, rng.randrange(0, 4)),
        "score": rng.randrange(-100, 101),
        "isOriginal": rng.random() < 0.4,
        "publishTime": any_date(rng, state.now),
        "crawlTime": any_date(rng, state.now + dt.timedelta(seconds=rng.randrange(5, 600))),
    }
    oddity = rng.randrange(40)
    if oddity == 0:
        fields["crawlTime"] = "unknown"  # declared on_error="null": still a row
    elif oddity == 1:
        fields |= {"source": None, "tags": None, "score": None, "language": None}
    elif oddity == 2:
        fields["id"] = state.number * 1_000_003  # an integer is taken as its digits
    elif oddity == 3:
        fields["tags"] = {"topics": [{"name": "财报", "weight": 0.7}], "flags": {"a": None, "b": [1, 2, [3]]}}
    elif oddity == 4:
        for name in ("content", "crawlTime", "isOriginal"):
            del fields[name]
    elif oddity == 5:
        fields["tracking"] = {"session": {"id": 1, "hops": [{"host": "edge-7"}, {"host": "core-2"}]}}  # in no model
    return fields


def _announcement(state: _State, is_bad: bool) -> dict[str, object]:
    rng = state.rng
    issuer, (title, body) = rng.choice(ISSUERS), rng.choice(NOTICES)
    correction = bool(state.announced) and rng.random() < _CORRECTION_SHARE
    number = rng.choice(state.announced[-_CORRECTABLE:]) if correction else f"{issuer.code}-{state.number:07d}"
    if not correction and not is_bad:
        state.announced = [*state.announced[-_CORRECTABLE:], number]
    return {
        "type": "announcement",
        "id": number,
        "issuer": {"company": issuer.company, "code": issuer.code},
        "title": f"{title}（更正后）" if correction else title,
        "body": body,
        "announcedAt": any_date(rng, state.now),
        "effectiveOn": rng.choice((None, f"{state.now + dt.timedelta(days=7):%Y-%m-%d}", "待定")),
    }


def _good_value(rng: random.Random, fields: dict[str, object]) -> bytes:
    """Good JSON comes in many a shape."""
    shape = rng.randrange(20)
    if shape == 0:
        return json.dumps(fields, indent=2).encode()  # pretty, and escaped to ASCII
    if shape == 1:
        return b'{"title": "an earlier value of a duplicate key", ' + encode_fields(fields)[1:]  # the last one counts
    if shape == 2:
        return b" \n" + encode_fields(dict(reversed(fields.items()))) + b"\r\n"
    return encode_fields(fields)


def _headers(state: _State) -> list[tuple[str, bytes | None]]:
    rng = state.rng
    found: list[tuple[str, bytes | None]] = [("trace-id", f"{rng.getrandbits(64):016x}".encode())]
    if rng.random() < 0.2:
        found += [("crawler", "爬虫-3".encode()), ("crawler", b"retry"), ("empty", None)]
    return found


def _route(value: bytes | None) -> str | None:
    """The message type a reader of the value finds."""
    try:
        found = json.loads(value or b"").get("type")
    except (ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
