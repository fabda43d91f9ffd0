"""`kafka-ingest demo`."""
