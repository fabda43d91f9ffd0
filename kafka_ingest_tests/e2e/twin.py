"""The package's definitions as a second code location: what somebody who declares a stream twice has."""

from __future__ import annotations

from kafka_ingest.definitions import defs

__all__ = ["defs"]
