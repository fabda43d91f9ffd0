"""How the bytes of values and keys are written: JSON, Avro, Protobuf, text, or a format of a user's own."""
