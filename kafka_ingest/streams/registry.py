"""The declared streams: every `STREAM` in the modules of `kafka_ingest.streams` and of the packages named by the user."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from itertools import combinations

import kafka_ingest.streams
from kafka_ingest.errors import ConfigError
from kafka_ingest.settings import stream_modules
from kafka_ingest.streams.stream import STREAM_NAME, Stream


def declared_streams(modules: Iterable[str] | None = None) -> dict[str, Stream]:
    """Streams by name. Imports the modules that declare them, and connects to nothing.

    modules: names of modules or packages to look in. Where None: those of `KAFKA_INGEST_STREAMS` (comma-separated),
    else `kafka_ingest.streams`. In a package every direct module with a `STREAM` counts.

    Raises ConfigError for a module that cannot be imported or declares nothing, for two streams of one name, of one table, or of
    one topic and consumer group, and for what `Stream` refuses.
    """
    names = tuple(stream_modules() if modules is None else modules) or (kafka_ingest.streams.__name__,)
    streams: dict[str, Stream] = {}
    for name in names:
        try:
            found = list(_streams_in(name))
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"KAFKA_INGEST_STREAMS names {name!r}, which cannot be imported: {error}",
                setting="KAFKA_INGEST_STREAMS",
            ) from error
        if not found:
            raise ConfigError(f"module {name!r} declares no STREAM", setting="KAFKA_INGEST_STREAMS")
        for stream in found:
            if streams.setdefault(stream.name, stream) is not stream:
                raise _same_name(stream)
    check_together(streams.values())
    return streams


def _streams_in(name: str) -> Iterable[Stream]:
    module = importlib.import_module(name)
    children = pkgutil.iter_modules(module.__path__, f"{name}.") if hasattr(module, "__path__") else []
    for each in (module, *(importlib.import_module(child.name) for child in children)):
        stream = getattr(each, "STREAM", None)
        if isinstance(stream, Stream):
            yield stream


def _same_name(stream: Stream) -> ConfigError:
    return ConfigError(f"two streams are named {stream.name!r}", stream=stream.name)


def check_together(streams: Iterable[Stream]) -> None:
    """Streams of one cluster and one database must not share a name (nor a group have a stream's), a table, or a topic and
    consumer group.

    Raises ConfigError.
    """
    by_name: dict[str, Stream] = {}
    for stream in streams:
        if by_name.setdefault(stream.name, stream) is not stream:
            raise _same_name(stream)
    check_run_groups(by_name)
    check_groups(by_name)
    check_tables(by_name)


def check_run_groups(streams: Mapping[str, Stream]) -> None:
    """A group's sensor and job are named as a stream's would be, and a stream of a group is not divided."""
    for stream in streams.values():
        if stream.group is not None and not STREAM_NAME.fullmatch(stream.group):
            raise ConfigError(
                f"stream {stream.name}: group {stream.group!r}: letters, digits and _ only, at most 64, no digit first",
                stream=stream.name,
                setting="group",
            )
        if stream.group is not None and stream.batch.shards > 1:
            raise ConfigError(
                f"stream {stream.name}: shards={stream.batch.shards} divides it among runs of its own, and "
                f"group={stream.group!r} has it share one; leave one of them out",
                stream=stream.name,
                setting="group",
            )
        if stream.group in streams:
            raise ConfigError(
                f"stream {stream.name}: group {stream.group!r} is the name of a stream, too; give the group another",
                stream=stream.name,
                setting="group",
            )


def check_groups(streams: Mapping[str, Stream]) -> None:
    """Streams that read one topic must not share a consumer group: they would overwrite each other's offsets."""
    for one, other in combinations(streams.values(), 2):
        if one.group_id != other.group_id:
            continue
        # Two different patterns may still meet in a topic; only the cluster knows.
        shared = [t for t in one.topic_names if other.takes_topic(t) or t in other.topic_names]
        shared += [t for t in other.topic_names if one.takes_topic(t)]
        if shared:
            raise ConfigError(
                f"streams {one.name} and {other.name} both read {shared[0]!r} with one consumer group; "
                "give one of them a group_id of its own",
                setting="group_id",
            )


def check_tables(streams: Mapping[str, Stream]) -> None:
    """A table belongs to one stream: two would replace each other's ranges, and neither ledger would account for it."""
    owners: dict[str, str] = {}
    for stream in streams.values():
        for target in stream.targets:
            for table in target.tables:
                # Table names do not differ by case on every system.
                owner = owners.setdefault(table.fullname.lower(), stream.name)
                if owner != stream.name:
                    raise ConfigError(
                        f"streams {owner} and {stream.name} both load table {table.fullname!r}; read both topics with one "
                        "stream, or give one of them a model with a table of its own",
                        stream=stream.name,
                    )
