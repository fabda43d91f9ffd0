"""Options and arguments that several commands take, and how their text is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import click

from kafka_ingest.errors import ConfigError
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.registry import declared_streams
from kafka_ingest.streams.stream import Stream

_RANGE = re.compile(
    r"(?P<topic>[A-Za-z0-9._-]{1,249}):(?P<partition>[0-9]{1,9}):(?P<start>[0-9]{1,18})-(?P<end>[0-9]{1,18})"
)


class NumberType(click.FloatRange):
    """A number within bounds. NaN, which click's own type lets through as no bound is above it, is outside of any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{found} is not in the range {self._describe_range()}.", param, ctx)
        return found


BAD_RATIO_OPTION = click.option(
    "--bad-ratio",
    type=NumberType(min=0, max=1),
    default=0.03,
    show_default=True,
    help="Part of messages that cannot become rows.",
)


KEY_PREFIX_OPTION = click.option(
    "--key-prefix",
    multiple=True,
    metavar="NAME",
    help="The key_prefix that the project gave to build_definitions. Repeatable, as its parts are.",
)


class RangeType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on only
    """`TOPIC:PARTITION:START-END`, the end exclusive."""

    name = "TOPIC:PARTITION:START-END"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> OffsetRange:
        if isinstance(value, OffsetRange):
            return value
        match = _RANGE.fullmatch(str(value))
        if match is None:
            self.fail(
                f"{value!r} is not TOPIC:PARTITION:START-END, such as news:0:100-200 (offset 200 not included)",
                param,
                ctx,
            )
        try:
            found = OffsetRange(match["topic"], int(match["partition"]), int(match["start"]), int(match["end"]))
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        if not found.size:
            self.fail(f"{value!r} is empty: the end is exclusive", param, ctx)
        return found


def streams_named(name: str | None) -> Mapping[str, Stream]:
    """The declared stream of this name, or all. Raises ConfigError for a name nobody declared."""
    streams = declared_streams()
    if name is None:
        return streams
    if name not in streams:
        raise ConfigError(f"no stream is named {name!r}; declared: {', '.join(sorted(streams))}")
    return {name: streams[name]}
