"""A stream's assets: one per table and one for its dead letters, loaded by one graph of ops."""

from __future__ import annotations

import dagster as dg

from kafka_ingest.orchestration.names import DEAD_LETTERS
from kafka_ingest.orchestration.ops import make_ops
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.run_report import output_names
from kafka_ingest.orchestration.windows import windows_of


def stream_assets(placed: PlacedStream) -> dg.AssetsDefinition:
    """The graph of ops as one multi-asset."""
    stream = placed.stream
    ops = make_ops(placed)
    topics = {f"topic_{i}": spec.key for i, spec in enumerate(placed.topics.values())}
    graph = dg.GraphDefinition(
        name=placed.graph,
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
    definition = dg.AssetsDefinition.from_graph(
        graph,
        keys_by_input_name=topics,
        keys_by_output_name={target.identifier: spec.key for target, spec in placed.tables.items()}
        | {DEAD_LETTERS: placed.dead_letters.key},
        partitions_def=windows_of(stream),
        backfill_policy=dg.BackfillPolicy.single_run(),
        # A run loads every table of its ranges, and reports those that were not selected too (the drain). As tables that can only
        # be materialized together, each one's Materialize would begin with a warning of the others.
        can_subset=True,
    )
    wanted = {spec.key: spec for spec in placed.loaded}
    return definition.map_asset_specs(lambda bare: _dressed(bare, wanted[bare.key]))


def _invocation(ops: dict[str, dg.OpDefinition], name: str) -> dg.NodeInvocation:
    return dg.NodeInvocation(ops[name].name, alias=name)


def _dressed(bare: dg.AssetSpec, wanted: dg.AssetSpec) -> dg.AssetSpec:
    """The graph's dependencies and partitions, and of everything else what is wanted."""
    return bare.replace_attributes(
        description=wanted.description,
        metadata=wanted.metadata,
        group_name=wanted.group_name,
        code_version=wanted.code_version,
        freshness_policy=wanted.freshness_policy,
        automation_condition=wanted.automation_condition,
        owners=wanted.owners,
        tags=wanted.tags,  # kinds are among them
    )
