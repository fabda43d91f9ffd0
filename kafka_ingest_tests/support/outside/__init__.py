"""A user's own package: streams, a step and a database that kafka_ingest knows nothing of."""
