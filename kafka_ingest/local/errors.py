"""The one error of the local servers."""

from __future__ import annotations

from kafka_ingest.errors import PermanentError


class LocalServerError(PermanentError):
    """A local server cannot be had, started or reached; the text says why and what to do."""
