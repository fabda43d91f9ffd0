"""Where in a declaration something stands, and errors that say so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from kafka_ingest.errors import ConfigError, DeclarationError

Place: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead there, from the outermost in."""

_PLAIN = re.compile(r"\w+")


def place_text(place: Place) -> str:
    """The place as a person writes it: `streams[0].routes.news.columns['last price'].type`."""
    text = ""
    for part in place:
        if isinstance(part, str) and _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text or "the declaration"


def wrong(place: Place, what: str) -> DeclarationError:
    """The error that what stands there `what`: "is missing", "is 7, not a text"."""
    return DeclarationError(f"{place_text(place)} {what}", place=place, setting=place_text(place))


@contextmanager
def said_of(place: Place, settings: Collection[str] = ()) -> Iterator[None]:
    """Has a ConfigError say that it is about this place; where its setting is one of those given, about that below it."""
    try:
        yield
    except DeclarationError:
        raise
    except ConfigError as error:
        where = place
        if error.setting is not None and error.setting in settings:
            where = (*place, error.setting)
        raise DeclarationError(
            f"{place_text(where)}: {error}",
            place=where,
            stream=error.stream,
            setting=place_text(where),
            model=error.model,
        ) from error
