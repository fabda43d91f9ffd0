"""A stream whose values and keys name their schemas by ids of a registry."""

from dataclasses import replace

from kafka_ingest import Avro
from kafka_ingest_tests.formats.world import PEOPLE

STREAM = replace(PEOPLE, value_format=Avro(), key_format=Avro())
