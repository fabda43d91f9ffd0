"""The doctor's look at the schema registry: does it answer, and do the newest schemas of the topics fit the models?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from kafka_ingest.checks.schema_fit import Fit, Reads, best_fit, read_of_keys, read_of_values
from kafka_ingest.errors import AccessDenied, KafkaIngestError
from kafka_ingest.findings import Finding, fail, ok, warn
from kafka_ingest.kafka.schema_registry import SchemaRegistry, schema_registry
from kafka_ingest.settings import Settings
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable

_MOST_SHOWN = 5


def check_registry(settings: Settings, streams: Collection[Stream]) -> Iterator[Finding]:
    """Reachable first; then the subjects of each stream's topics. Nothing where no stream's format needs a registry."""
    asking = [s for s in streams if s.value_format.is_registered or s.key_format.is_registered]
    if not asking:
        return
    where = re.sub(r"//[^/@]*@", "//", settings.registry.get("url", ""))
    try:
        registry = schema_registry(settings)
        subjects = registry.subjects()
    except KafkaIngestError as error:
        yield fail("schema registry", str(error), _reach(error))
        return
    yield ok("schema registry", f"{where} answers: {len(subjects)} subject(s)")
    for stream in asking:
        yield from _stream(registry, subjects, stream)


def _reach(error: KafkaIngestError) -> str:
    if isinstance(error, AccessDenied):
        if error.code is None:
            return "Set SCHEMA_REGISTRY_SSL_CA_LOCATION to the file of the certificate that has signed the registry's."
        return "Set SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO or SCHEMA_REGISTRY_BEARER_AUTH_TOKEN, and allow it to read."
    return "Set SCHEMA_REGISTRY_URL to the registry's address, as http://host:8081; is it up?"


@dataclass(frozen=True, slots=True)
class _Part:
    """The values or the keys of a stream's messages."""

    name: str
    format: Format

    def topic_of(self, subject: str) -> str | None:
        """The topic whose schema a subject has, by the serializers' usual name for it."""
        return subject.removesuffix(f"-{self.name}") if subject.endswith(f"-{self.name}") else None

    def columns(self, stream: Stream, target: TargetTable) -> list[Reads]:
        """What a table reads of this part."""
        if self.name == "value":
            return list(read_of_values(target, stream.row_paths[0]))
        return list(read_of_keys(target, stream.key_format))


def _stream(registry: SchemaRegistry, subjects: Collection[str], stream: Stream) -> Iterator[Finding]:
    for part in (_Part("value", stream.value_format), _Part("key", stream.key_format)):
        wanted = {target: part.columns(stream, target) for target in stream.targets}
        if not part.format.is_registered or not any(wanted.values()):
            continue
        found = {s: t for s in sorted(subjects) if (t := part.topic_of(s)) is not None and stream.takes_topic(t)}
        lacking = [topic for topic in stream.topic_names if not stream.is_pattern and topic not in found.values()]
        if lacking or not found:
            yield warn(
                f"{part.name} schemas of {stream.name}",
                f"no subject {', '.join(f'{topic}-{part.name}' for topic in lacking or stream.topic_names)}",
                "Nothing, if the topic has another subject name strategy or no messages yet: runs find schemas by ids.",
            )
        for subject, topic in found.items():
            yield from _subject(registry, stream, part, subject, _targets(stream, topic, wanted))


def _targets(stream: Stream, topic: str, wanted: dict[TargetTable, list[Reads]]) -> dict[TargetTable, list[Reads]]:
    """The tables that messages of a topic may become."""
    if isinstance(stream.route_by, RouteByTopic):
        target = stream.target_of(topic)
        return {} if target is None else {target: wanted[target]}
    return wanted


def _subject(
    registry: SchemaRegistry, stream: Stream, part: _Part, subject: str, targets: dict[TargetTable, list[Reads]]
) -> Iterator[Finding]:
    check = f"schema {subject} of {stream.name}"
    try:
        latest = registry.latest(subject)
    except KafkaIngestError as error:
        yield fail(check, str(error), _reach(error))
        return
    if latest is None:  # deleted since
        return
    version, schema = latest
    for target, columns in targets.items():
        if not columns:
            continue
        try:
            fit = best_fit(schema, part.format, stream, target, columns)
        except BadMessage as error:
            yield fail(
                check, str(error), f"Declare the stream with the {part.name}_format that the topic is written in."
            )
            return
        yield from _fit(f"{check}, {target.model_name}", f"version {version}, id {schema.id}", fit)


def _fit(check: str, which: str, fit: Fit) -> Iterator[Finding]:
    if fit.unfed_required:
        yield fail(
            check,
            f"{which} has no field for {_listed(fit.unfed_required)}, NOT NULL: every message becomes a dead letter",
            "Correct the column's path, or give it a default or nullable=True.",
        )
    if fit.refused:
        yield fail(
            check,
            f"{which} has fields that their columns do not take: {_listed(fit.refused, '; ')}",
            "Give the column a type that takes the field (docs/formats.md, What a column takes), or a cast.",
        )
    if fit.sometimes_refused:
        yield warn(
            check,
            f"{which} has unions of which columns take a part: {_listed(fit.sometimes_refused, '; ')}",
            "Messages with the other branches become dead letters; a column of JSON takes all of them.",
        )
    if fit.unfed:
        yield warn(
            check,
            f"{which} has no field for {_listed(fit.unfed)}: NULL, or the default, in every row",
            "Correct the column's path, if the field has another name.",
        )
    if not (fit.unfed_required or fit.refused or fit.sometimes_refused or fit.unfed):
        yield ok(check, f"{which} feeds every column, and the columns take what it has")


def _listed(names: Collection[str], separator: str = ", ") -> str:
    shown = separator.join(list(names)[:_MOST_SHOWN])
    return shown + (f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else "")
