"""A stream's assets: its topics (external), one asset per table and one for its dead letters."""

from __future__ import annotations

from typing import Any

import dagster as dg

from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest.ledger.tables import DEAD_LETTERS as DEAD_LETTERS_TABLE
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import DEAD_LETTERS, dead_letters_key, ledger_key, table_key, topic_key
from kafka_ingest.orchestration.ops import make_ops, output_names
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.windows import window_format, window_of


def partitions_of(stream: Stream) -> dg.TimeWindowPartitionsDefinition:
    """Windows by Kafka timestamp, in UTC, from the stream's `window_start` on, the present one included: live runs load into it.

    For assets of one's own that follow a stream's tables.
    """
    return dg.TimeWindowPartitionsDefinition(
        start=window_of(stream, stream.window_start, now=stream.window_start),
        fmt=window_format(stream),
        cron_schedule="0 * * * *" if stream.window == "hourly" else "0 0 * * *",
        timezone="UTC",
        end_offset=1,
    )


def topic_specs(stream: Stream) -> list[dg.AssetSpec]:
    """External assets of the stream's topics."""
    return [
        dg.AssetSpec(
            topic_key(topic),
            description=f"Kafka topic{'s matching' if stream.is_pattern else ''} {code(topic)}.",
            group_name="kafka",
            kinds={"kafka"},
        )
        for topic in stream.topic_names
    ]


def ledger_spec(stream: Stream, database_kind: str) -> dg.AssetSpec:
    """The ledger as an asset of its own, for the checks that no run of the tables waits for."""
    return dg.AssetSpec(
        ledger_key(stream),
        deps=[topic_key(topic) for topic in stream.topic_names],
        description="What has been loaded, range by range: `kafka_ingest_offsets` and `kafka_ingest_batches`. Audited daily.",
        group_name=stream.name,
        kinds={database_kind},
        metadata={"dagster/table_name": BATCHES.name},
    )


def stream_assets(stream: Stream, database_kind: str) -> dg.AssetsDefinition:
    """The graph of ops as one multi-asset. database_kind: what the UI shows on the tables (`Sink.kind`)."""
    ops = make_ops(stream)
    topics = {f"topic_{i}": topic for i, topic in enumerate(stream.topic_names)}
    graph = dg.GraphDefinition(
        name=stream.name,
        description=f"Kafka {stream.topic_text} → {', '.join(target.label for target in stream.targets)}",
        node_defs=list(ops.values()),
        dependencies={
            _invocation(ops, "read"): {"batch": dg.DependencyDefinition("plan")},
            _invocation(ops, "translate_dates"): {"parsed": dg.DependencyDefinition("read")},
            _invocation(ops, "load"): {
                "batch": dg.DependencyDefinition("plan"),
                "parsed": dg.DependencyDefinition("translate_dates"),
            },
            _invocation(ops, "commit_offsets"): {"result": dg.DependencyDefinition("load")},
            _invocation(ops, "drain"): {
                "batch": dg.DependencyDefinition("plan"),
                "first": dg.DependencyDefinition("commit_offsets"),
            },
            _invocation(ops, "plan"): {},
        },
        input_mappings=[
            dg.InputMapping(graph_input_name=name, mapped_node_name="plan", mapped_node_input_name=name)
            for name in topics
        ],
        output_mappings=[
            dg.OutputMapping(graph_output_name=name, mapped_node_name="drain", mapped_node_output_name=name)
            for name in output_names(stream)
        ],
    )
    keys = {target.identifier: table_key(stream, target) for target in stream.targets}
    definition = dg.AssetsDefinition.from_graph(
        graph,
        keys_by_input_name={name: topic_key(topic) for name, topic in topics.items()},
        keys_by_output_name=keys | {DEAD_LETTERS: dead_letters_key(stream)},
        partitions_def=partitions_of(stream),
        group_name=stream.name,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    details = {table_key(stream, target): _table_details(stream, target, database_kind) for target in stream.targets}
    return definition.map_asset_specs(
        lambda spec: spec.replace_attributes(**(details.get(spec.key) or _dead_letter_details(database_kind)))
    )


def _invocation(ops: dict[str, dg.OpDefinition], name: str) -> dg.NodeInvocation:
    return dg.NodeInvocation(ops[name].name, alias=name)


def _table_details(stream: Stream, target: TargetTable, database_kind: str) -> dict[str, Any]:
    how = f"one row per {', '.join(target.key)}" if target.is_upsert else "one row per message"
    return {
        "description": (stream.model_of(target).__doc__ or "").strip() or f"Table {code(target.label)}: {how}.",
        "kinds": {database_kind, "pandas"},
        "freshness_policy": stream.fresh_fail
        and dg.FreshnessPolicy.time_window(fail_window=stream.fresh_fail, warn_window=stream.fresh_warn),
        "metadata": {
            "dagster/table_name": target.label,
            "dagster/column_schema": dg.TableSchema(
                [_column(c.name, str(c.type), bool(c.nullable), c.comment) for c in target.table.columns]
            ),
            "dagster/column_lineage": _column_lineage(stream, target),
            "fields": dg.MetadataValue.md(_field_table(target)),
            "loads": how,
        },
    }


def _column(name: str, type_: str, nullable: bool, comment: str | None) -> dg.TableColumn:
    return dg.TableColumn(name, type_, description=comment, constraints=dg.TableColumnConstraints(nullable=nullable))


def _column_lineage(stream: Stream, target: TargetTable) -> dg.TableColumnLineage:
    """Which field of the topics' messages each column comes from, for tools that read Dagster's lineage."""
    return dg.TableColumnLineage(
        {
            bound.name: [dg.TableColumnDep(topic_key(topic), ".".join(bound.rule.path)) for topic in stream.topic_names]
            for bound in target.bound
        }
    )


def _field_table(target: TargetTable) -> str:
    """Which JSON field feeds which column: the lineage the open-source UI has no view for."""
    lines = ["| column | JSON field | dates |", "|---|---|---|"]
    for bound in target.bound:
        dates = bound.rule.dates
        zone = (
            "" if dates is None else f"naive in {dates.timezone}; unreadable: {bound.rule.on_error.replace('_', ' ')}"
        )
        lines.append(f"| {code(bound.name)} | {code('.'.join(bound.rule.path))} | {zone} |")
    return "\n".join(lines)


def _dead_letter_details(database_kind: str) -> dict[str, Any]:
    return {
        "description": "Messages that could not become rows, with their original bytes and the reason.",
        "kinds": {database_kind},
        "metadata": {"dagster/table_name": DEAD_LETTERS_TABLE.name},
    }
