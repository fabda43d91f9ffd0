"""Where a project says how our assets look in it: keys, groups, owners, tags, descriptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import dagster as dg

from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

AssetPart: TypeAlias = Literal["topic", "table", "dead_letters", "ledger"]


@dataclass(frozen=True, slots=True)
class KafkaIngestTranslatorData:
    """What an asset stands for."""

    stream: Stream
    part: AssetPart
    spec: dg.AssetSpec
    """As it is without a translator."""
    topic: str | None = None
    """The topic or topic pattern, of a `topic`."""
    target: TargetTable | None = None
    """The table, of a `table`; `stream.model_of(target)` is its model."""


class KafkaIngestTranslator:
    """Makes the spec of each asset. Override `get_asset_spec`:

        class Ours(KafkaIngestTranslator):
            def get_asset_spec(self, data):
                return super().get_asset_spec(data).replace_attributes(owners=["team:data"])

    It is asked once for each asset while the definitions load, so the same data must give the same key in every process.
    Dependencies and partitions are the stream's, and stay.
    """

    def get_asset_spec(self, data: KafkaIngestTranslatorData) -> dg.AssetSpec:
        """The asset's spec; its key is used wherever the asset is reported."""
        return data.spec
