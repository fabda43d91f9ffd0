"""A stream in a code location: its names there, and the specs of its assets."""

from __future__ import annotations

import linecache
import re
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest.ledger.tables import DEAD_LETTERS as DEAD_LETTERS_TABLE
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import DEAD_LETTERS, LEDGER, Names
from kafka_ingest.orchestration.translator import KafkaIngestTranslator, KafkaIngestTranslatorData
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable


@dataclass(frozen=True, slots=True)
class Placement:
    """What one set of definitions has in common."""

    names: Names
    database_kind: str
    """What the UI shows on tables (`Sink.kind`)."""
    group_name: str | None = None
    owners: tuple[str, ...] = ()
    tags: Mapping[str, str] | None = None
    translator: KafkaIngestTranslator = KafkaIngestTranslator()  # noqa: RUF009  it has no state

    def of(self, stream: Stream) -> PlacedStream:
        """The stream with the specs of its assets, each of which the translator has seen once."""
        topics = {
            topic: self._spec(stream, "topic", _topic_spec(self, stream, topic), topic=topic)
            for topic in stream.topic_names
        }
        deps = [spec.key for spec in topics.values()]
        ledger = self._spec(stream, "ledger", _ledger_spec(self, stream, deps))
        checked = {"checks": dg.MetadataValue.asset(ledger.key)}
        tables = {
            target: self._spec(
                stream,
                "table",
                _table_spec(self, stream, target, deps).merge_attributes(metadata=checked),
                target=target,
            )
            for target in stream.targets
        }
        dead_letters = self._spec(
            stream, "dead_letters", _dead_letters_spec(self, stream).merge_attributes(metadata=checked)
        )
        return PlacedStream(stream, self.names, topics, tables, dead_letters, ledger)

    def group(self, name: str) -> str:
        """The group of an asset that would be in group `name`."""
        return self.group_name or self.names.of(name)

    def _spec(self, stream: Stream, part: Any, spec: dg.AssetSpec, **what: Any) -> dg.AssetSpec:
        ours = spec.replace_attributes(owners=self.owners, tags={**spec.tags, **(self.tags or {})})
        return self.translator.get_asset_spec(KafkaIngestTranslatorData(stream, part, ours, **what))


@dataclass(frozen=True, slots=True)
class PlacedStream:
    """A stream, how it is named in a code location, and its assets there."""

    stream: Stream
    names: Names
    topics: Mapping[str, dg.AssetSpec]
    """By topic name or pattern."""
    tables: Mapping[TargetTable, dg.AssetSpec]
    dead_letters: dg.AssetSpec
    """Whatever table their messages were meant for."""
    ledger: dg.AssetSpec
    """The stream's part of the ledger. All checks of the stream hang on it."""

    @property
    def tag(self) -> str:
        """The stream's name in tags of runs."""
        return self.names.tag(self.stream.name)

    @property
    def graph(self) -> str:
        """The graph of ops that loads the stream, before whose ops it stands as well."""
        return self.names.of(self.stream.name)

    @property
    def loaded(self) -> Sequence[dg.AssetSpec]:
        """What a run of the stream's job materializes."""
        return (*self.tables.values(), self.dead_letters)


def topic_specs(placed: Iterable[PlacedStream]) -> list[dg.AssetSpec]:
    """The topics of several streams, one that several read once."""
    return list({spec.key: spec for each in placed for spec in each.topics.values()}.values())


def _topic_spec(placement: Placement, stream: Stream, topic: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        placement.names.topic_key(topic),
        description=f"Kafka topic{'s matching' if stream.is_pattern else ''} {code(topic)}.",
        group_name=placement.group("kafka"),
        kinds={"kafka"},
    )


def _ledger_spec(placement: Placement, stream: Stream, deps: Sequence[dg.AssetKey]) -> dg.AssetSpec:
    """The ledger as an asset of its own, for the checks: no run of the tables plans them or waits for them."""
    return dg.AssetSpec(
        placement.names.key(stream.name, LEDGER),
        deps=deps,
        description="What has been loaded, range by range: `kafka_ingest_offsets` and `kafka_ingest_batches`. "
        "Each run is checked while it loads, and everything daily.",
        group_name=placement.group(stream.name),
        kinds={placement.database_kind},
        metadata={"dagster/table_name": BATCHES.name},
    )


def _dead_letters_spec(placement: Placement, stream: Stream) -> dg.AssetSpec:
    return dg.AssetSpec(
        placement.names.key(stream.name, DEAD_LETTERS),
        description="Messages that could not become rows, with their original bytes and the reason.",
        group_name=placement.group(stream.name),
        kinds={placement.database_kind},
        metadata={"dagster/table_name": DEAD_LETTERS_TABLE.name},
    )


def _table_spec(
    placement: Placement, stream: Stream, target: TargetTable, topics: Sequence[dg.AssetKey]
) -> dg.AssetSpec:
    how = f"one row per {', '.join(target.key)}" if target.is_upsert else "one row per message"
    fresh = stream.fresh_fail
    columns = [_column(c.name, str(c.type), bool(c.nullable), c.comment) for c in target.table.columns]
    return dg.AssetSpec(
        placement.names.table_key(stream, target),
        description=(stream.model_of(target).__doc__ or "").strip() or f"Table {code(target.label)}: {how}.",
        group_name=placement.group(stream.name),
        kinds={placement.database_kind, "pandas"},
        freshness_policy=None
        if fresh is None
        else dg.FreshnessPolicy.time_window(fail_window=fresh, warn_window=stream.fresh_warn),
        metadata={
            "dagster/table_name": target.label,
            "dagster/column_schema": dg.TableSchema(columns),
            "dagster/column_lineage": _column_lineage(target, topics),
            "fields": dg.MetadataValue.md(_field_table(target)),
            "loads": how,
        }
        | _code_references(stream.model_of(target)),
    )


def _column(name: str, type_: str, nullable: bool, comment: str | None) -> dg.TableColumn:
    return dg.TableColumn(name, type_, description=comment, constraints=dg.TableColumnConstraints(nullable=nullable))


def _column_lineage(target: TargetTable, topics: Sequence[dg.AssetKey]) -> dg.TableColumnLineage:
    """Which field of the topics' messages each column comes from, for tools that read Dagster's lineage."""
    return dg.TableColumnLineage(
        {b.name: [dg.TableColumnDep(topic, b.rule.origin) for topic in topics] for b in target.bound}
    )


def _field_table(target: TargetTable) -> str:
    """Which JSON field feeds which column: the lineage the open-source UI has no view for."""
    lines = ["| column | JSON field | dates |", "|---|---|---|"]
    for bound in target.bound:
        dates = bound.rule.dates
        zone = (
            "" if dates is None else f"naive in {dates.timezone}; unreadable: {bound.rule.on_error.replace('_', ' ')}"
        )
        lines.append(f"| {code(bound.name)} | {code(bound.rule.origin)} | {zone} |")
    return "\n".join(lines)


def _code_references(model: type) -> dict[str, Any]:
    """Where the model is declared, for the link on its table's page; none where it was made without a file."""
    file = getattr(sys.modules.get(model.__module__), "__file__", None)
    if file is None:
        return {}
    # Not inspect.getsourcelines: it parses the whole file, at every load.
    begins = re.compile(rf"\s*class {re.escape(model.__name__)}\b")
    line = next((n for n, text in enumerate(linecache.getlines(file), 1) if begins.match(text)), 1)
    with warnings.catch_warnings():
        # Code references are still called a beta here; without them a table's page has no link to its model.
        warnings.simplefilter("ignore", dg.BetaWarning)
        where = dg.LocalFileCodeReference(file_path=file, line_number=line, label=model.__name__)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[where])}
