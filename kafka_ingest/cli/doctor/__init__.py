"""`kafka-ingest doctor`."""
