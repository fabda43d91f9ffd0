"""`kafka-ingest new-stream`."""
