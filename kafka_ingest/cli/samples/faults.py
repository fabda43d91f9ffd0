"""Every way a sample message can be bad: each makes a good message into one that no table takes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from kafka_ingest.cli.samples.dates import UNREADABLE_DATES

Fields = dict[str, object]
Break = Callable[[random.Random, Fields], bytes | None]

# Deeper than any JSON decoder follows; 100 kB.
_DEPTH = 50_000
_HOLE = "@@hole@@"


def encode_fields(fields: Fields) -> bytes:
    """A message's bytes, the text as UTF-8 and not as escapes."""
    return json.dumps(fields, ensure_ascii=False).encode()


def _with(fields: Fields, **changes: object) -> bytes:
    return encode_fields(fields | changes)


def _raw(fields: Fields, name: str, value: bytes) -> bytes:
    """The message with these very bytes as a field's value."""
    return _with(fields, **{name: _HOLE}).replace(f'"{_HOLE}"'.encode(), value)


def _without(fields: Fields, name: str) -> bytes:
    return encode_fields({key: value for key, value in fields.items() if key != name})


def _is_news(fields: Fields) -> bool:
    return bool(fields["type"] == "information")


def _date(fields: Fields) -> str:
    return "publishTime" if _is_news(fields) else "announcedAt"


def _broken_json(rng: random.Random, fields: Fields) -> bytes:
    whole = encode_fields(fields)
    return rng.choice(
        (whole[: rng.randrange(1, len(whole))], whole + b"}", whole.replace(b'"', b"'", 2), whole[1:], b"NaN")
    )


def _not_utf8(rng: random.Random, fields: Fields) -> bytes:
    return rng.choice(
        (
            _raw(fields, "title", b'"\xff\xfe"'),
            _raw(fields, "title", '"Über"'.encode("latin-1")),
            encode_fields(fields).decode().encode("utf-16"),
        )
    )


def _not_an_object(rng: random.Random, fields: Fields) -> bytes:
    return rng.choice((b"[" + encode_fields(fields) + b"]", b"42", b'"information"', b"true", b"null"))


def _wrong_type(rng: random.Random, fields: Fields) -> bytes:
    changes: list[Fields] = [
        {"title": ["a", "list"]},
        {"title": 1.5},
        {"id": {"$oid": "65f0"}},
        {_date(fields): {"$date": 1}},
    ]
    if _is_news(fields):
        changes += [{"score": "ninety"}, {"score": 0.5}, {"isOriginal": "yes"}, {"source": "a text, not an object"}]
    else:
        changes += [{"issuer": ["北方新能源"]}, {"issuer": {"company": True}}]
    return encode_fields(fields | rng.choice(changes))


def _missing_field(rng: random.Random, fields: Fields) -> bytes:
    needed = ["id", "title", _date(fields)] + ([] if _is_news(fields) else ["issuer"])
    name = rng.choice(needed)
    return rng.choice((_without(fields, name), _with(fields, **{name: None})))


def _too_long(rng: random.Random, fields: Fields) -> bytes:
    if _is_news(fields):
        long_url = {"name": "x", "url": "https://example.org/" + "a" * 2_100}
        return encode_fields(fields | rng.choice(({"title": "长" * 501}, {"language": "l" * 17}, {"source": long_url})))
    return encode_fields(
        fields | rng.choice(({"title": "长" * 501}, {"id": "i" * 65}, {"issuer": {"company": "C" * 201}}))
    )


def _too_deep(rng: random.Random, fields: Fields) -> bytes:
    return _raw(fields, rng.choice(("tags", "extra")), b"[" * _DEPTH + b"]" * _DEPTH)


def _huge_number(rng: random.Random, fields: Fields) -> bytes:
    numbers = (2**31, -(2**31) - 1, 2**63, 10**30)
    return _with(fields, score=rng.choice(numbers)) if _is_news(fields) else _with(fields, announcedAt=10**30)


def _lone_surrogate(rng: random.Random, fields: Fields) -> bytes:
    return _raw(fields, "title", rng.choice((b'"\\ud83d"', b'"half an emoji \\udc00 here"')))


FAULTS: dict[str, Break] = {
    "broken_json": _broken_json,
    "not_utf8": _not_utf8,
    "utf_16": lambda _, fields: encode_fields(fields).decode().encode("utf-16"),
    "empty_value": lambda rng, _: rng.choice((b"", b" \n")),
    "tombstone": lambda _rng, _fields: None,
    "not_an_object": _not_an_object,
    "unknown_type": lambda rng, fields: _with(fields, type=rng.choice(("weather", "Information", "", "资讯", 7))),
    "missing_type": lambda rng, fields: rng.choice((_without(fields, "type"), _with(fields, type=None))),
    "type_not_text": lambda rng, fields: _with(
        fields, type=rng.choice(([fields["type"]], {"name": fields["type"]}, True))
    ),
    "wrong_field_type": _wrong_type,
    "missing_field": _missing_field,
    "unreadable_date": lambda rng, fields: _with(fields, **{_date(fields): rng.choice(UNREADABLE_DATES)}),
    "too_long": _too_long,
    "too_deep": _too_deep,
    "huge_number": _huge_number,
    "lone_surrogate": _lone_surrogate,
}
"""Kind of badness → what makes a good message bad in that way. None is a null value."""
