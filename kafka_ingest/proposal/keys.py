"""What tells the rows of a table apart: a field that is an entity's own id, or the message's key, with the evidence.

A table is keyed so only where no message would take the place of another entity's row. A key that many messages share, such as
the user of a click, says who sent a message, not which row it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka_ingest.proposal.fields import MIN_MESSAGES, OUTLIERS, Field, Path
from kafka_ingest.proposal.names import snake_case
from kafka_ingest.proposal.types import KEY_CHARACTERS
from kafka_ingest.streams.formats.base import BAD_MESSAGE
from kafka_ingest.streams.json_schema import json_decoder

_IDS = ("id", "uuid", "guid", "key", "pk")
_CONNECT = {"schema", "payload"}
_decode: Callable[[bytes], Any] = json_decoder(Any)


@dataclass(frozen=True, slots=True)
class RowKey:
    """What tells rows apart, and why."""

    paths: tuple[Path, ...]
    """The fields of the key; none where it is the message's own key."""
    evidence: str
    deletes: bool = False
    """Whether messages without a value delete rows by it."""
    is_text: bool = True
    """Whether the message's key is the value itself, as text; else it is JSON."""


@dataclass(frozen=True, slots=True)
class NoKey:
    """Each message is a row of its own."""

    evidence: str


def row_key(
    fields: Sequence[Field],
    message_keys: Sequence[bytes | None],
    tombstones: int,
    names: Sequence[str],
) -> RowKey | NoKey:
    """The key of one model's rows.

    message_keys: of its messages, by the places that the fields count. tombstones: messages of the topic without a value.
    names: what the model's entity may be called: its stream, its topic, its types.
    """
    total = len(message_keys)
    texts = [_key_text(key) for key in message_keys]
    keyed = sum(text is not None for text in texts)
    candidates = [field for field in fields if _may_be_key(field, total)]
    composite = _composite(fields, message_keys, total)
    if composite is not None:
        return RowKey(
            composite, "the message's key has these fields, with the same values", tombstones > 0, is_text=False
        )
    strong = {
        *_IDS,
        *(f"{name}_{end}" for name in _entities(names) for end in ("id", "uuid", "key", "no", "number", "code")),
    }
    candidates.sort(key=lambda field: (snake_case(field.path[-1]) not in strong, len(field.path), _rank(field)))
    for field in candidates:
        is_strong = snake_case("_".join(field.path)) in strong or (
            snake_case(field.path[-1]) in strong and len(field.path) == 1
        )
        found = _by_field(field, texts, keyed, is_strong=is_strong)
        if found is not None:
            deletes = tombstones > 0 and keyed == total and _is_same(field, texts)
            return RowKey((field.path,), found, deletes, is_text=_is_plain(message_keys))
    return _by_message_key(texts, keyed, tombstones, message_keys)


def _by_field(field: Field, texts: Sequence[str | None], keyed: int, *, is_strong: bool) -> str | None:
    """The evidence that a field is the key; None where there is not enough."""
    different = len(set(map(str, field.values)))
    name = field.label
    if different == field.seen and (is_strong or field.seen >= MIN_MESSAGES):
        is_id = snake_case(field.path[-1]).endswith(("id", "uuid", "key"))
        return f"{name} is different in each of {field.seen:,} messages" if is_strong or is_id else None
    if is_strong and keyed == len(texts):
        own = [texts[number] for number in field.numbers]
        pairs = len(set(zip(map(str, field.values), own, strict=True)))
        if pairs == different == len(set(own)):
            return f"{name} goes with the message's key: {different:,} of each in {field.seen:,} messages"
    return None


def _by_message_key(
    texts: Sequence[str | None], keyed: int, tombstones: int, message_keys: Sequence[bytes | None]
) -> RowKey | NoKey:
    total, different = len(texts), len(set(texts))
    if keyed == total and all(len(text or "") <= KEY_CHARACTERS for text in texts) and total:
        if tombstones:
            return RowKey(
                (), f"{tombstones:,} messages have a key and no value, which deletes the row of that key", True
            )
        if different == total and total >= MIN_MESSAGES:
            return RowKey((), f"the message's key is different in each of {total:,} messages")
    if keyed and different < keyed:
        return NoKey(f"{different:,} message keys in {total:,} messages, and no field that goes with them")
    return NoKey("no field, and no message key, was found that tells rows apart")


def _may_be_key(field: Field, total: int) -> bool:
    """Whether each message, but for a few that become dead letters, has a short value there."""
    wanting = total - field.seen
    if not field.seen or (wanting and (total < MIN_MESSAGES or wanting > total * OUTLIERS)):
        return False
    if set(field.kinds) - field.outlier_kinds() - {"text", "integer", "uuid"}:
        return False
    return all(0 < len(str(value)) <= KEY_CHARACTERS // 2 for value in field.values)


def _rank(field: Field) -> int:
    own = snake_case(field.path[-1])
    return _IDS.index(own) if own in _IDS else len(_IDS)


def _entities(names: Sequence[str]) -> set[str]:
    """`orders` as `orders` and `order`, its last word too."""
    found = {snake_case(name) for name in names}
    found |= {name.rsplit("_", 1)[-1] for name in found}
    return found | {name.removesuffix("s") for name in found} | {f"{name.removesuffix('ies')}y" for name in found}


def _is_same(field: Field, texts: Sequence[str | None]) -> bool:
    """Whether the message's key is the field's value, but for a few."""
    equal = sum(str(value) == texts[number] for number, value in zip(field.numbers, field.values, strict=True))
    return equal >= len(texts) * (1 - OUTLIERS)


def _key_text(key: bytes | None) -> str | None:
    """A key as text, without the quotes of JSON."""
    if key is None:
        return None
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.isprintable():
        return None
    if text[:1] == '"':
        found = _json_key(key)
        return found if isinstance(found, str) else text
    return text


def _is_plain(keys: Sequence[bytes | None]) -> bool:
    """Whether keys are texts as they stand, and not JSON's."""
    return not all((key or b"").startswith((b'"', b"{")) for key in keys)


def _json_key(key: bytes) -> Any:
    try:
        return _decode(key)
    except BAD_MESSAGE:
        return None


def _composite(fields: Sequence[Field], keys: Sequence[bytes | None], total: int) -> tuple[Path, ...] | None:
    """The fields that the message's key, an object of JSON, has too, each by the same name and with the same values."""
    if not total or any(key is None or not key.startswith(b"{") for key in keys):
        return None
    objects: list[Mapping[str, Any]] = [found for key in keys if isinstance(found := _json_key(key or b""), dict)]
    if objects and all(each.keys() == _CONNECT for each in objects):  # Kafka Connect's
        objects = [each["payload"] for each in objects if isinstance(each["payload"], dict)]
    names = set(objects[0]) if objects else set()
    if len(objects) < total or not names or any(set(each) != names for each in objects):
        return None
    tops = {field.path[0]: field for field in fields if len(field.path) == 1 and _may_be_key(field, total)}
    if not names <= tops.keys():
        return None
    for name in names:
        if tops[name].seen < total or any(
            value != each[name] for value, each in zip(tops[name].values, objects, strict=True)
        ):
            return None
    return tuple(field.path for field in fields if field.path[0] in names and len(field.path) == 1)
