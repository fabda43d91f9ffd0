"""`--json`: one JSON object on standard output, of the command's answer or of the error that it ends with instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeVar

import click

from kafka_ingest.errors import KafkaIngestError, RetryableError
from kafka_ingest.redaction import redact

Command = TypeVar("Command", bound=Callable[..., object])

# In click's `Context.meta`, which a command shares with the groups above it.
_IS_AWAITED = f"{__name__}.is_awaited"


def json_option(text: str) -> Callable[[Command], Command]:
    """The option `--json` with this help; the command's parameter is `is_json`."""
    return click.option("--json", "is_json", is_flag=True, help=text, callback=_note)


def _note(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    context.meta[_IS_AWAITED] = value
    return value


def print_json(text: str) -> None:
    """Print a command's answer. An error after it is text on standard error alone, so that the output stays what it is."""
    click.get_current_context().meta[_IS_AWAITED] = False
    click.echo(text)


def is_json_awaited() -> bool:
    """Whether the running command was asked for JSON and has printed none yet."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_IS_AWAITED))


def error_json(error: KafkaIngestError) -> dict[str, object]:
    """What `--json` prints of an error, without secrets. Names and meanings stay; new ones may be added.

    {"error": {"type": name of its class, "message": text, "retryable": true where the same command may succeed later,
               "values": {attribute: value}}}, attributes as `KafkaIngestError.values` gives them;
    a range of offsets is {"topic", "partition", "start", "end"}, the end exclusive.
    """
    return {
        "error": {
            "type": type(error).__name__,
            "message": redact(str(error)),
            "retryable": isinstance(error, RetryableError),
            "values": _plain(error.values()),
        }
    }


def _plain(value: object) -> object:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return redact(str(value))
