"""The one resource: this run's `Ingestion`, made when first asked for, closed when the run ends."""

from __future__ import annotations

import dagster as dg
from pydantic import PrivateAttr

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.settings import Settings
from kafka_ingest.streams.stream import Stream


class IngestionResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Connections of a run. They are configured by the environment alone, so no secret is ever in a run config."""

    _ingestion: Ingestion | None = PrivateAttr(default=None)

    @property
    def is_open(self) -> bool:
        """Whether this run has asked for its ingestion before, in this process."""
        return self._ingestion is not None

    def of(self, stream: Stream, run_id: str, window_key: str | None) -> Ingestion:
        """The run's ingestion. A run has one stream."""
        if self._ingestion is None:
            self._ingestion = Ingestion(stream, Settings.from_environment(), run_id=run_id, window_key=window_key)
        return self._ingestion

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Close the run's connections, where it has opened any."""
        if self._ingestion is not None:
            self._ingestion.close()
            self._ingestion = None


INGESTION = "ingestion"
RUN_FILES = "run_files"


def run_window(context: dg.OpExecutionContext) -> str | None:
    """The run's window (its first, where it has several)."""
    return context.partition_keys[0] if context.has_partition_key or context.has_partition_key_range else None
