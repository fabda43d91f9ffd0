"""`kafka-ingest init`."""
