"""A module of the user's package without a stream: it is passed over."""

STREAM = "not a Stream"
