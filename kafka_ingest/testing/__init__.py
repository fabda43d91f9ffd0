"""For tests of what people build on this package: a contract that a sink has to keep, and messages and tables made by hand.

Needs pytest.
"""

from __future__ import annotations

import pytest

# Before the import: pytest tells the values of an assert that fails only of modules it knows by then.
pytest.register_assert_rewrite("kafka_ingest.testing.contract", "kafka_ingest.testing.contract_values")

from kafka_ingest.testing.contract import SinkContract  # noqa: E402
from kafka_ingest.testing.messages import Msg, Part, raw_slice  # noqa: E402
from kafka_ingest.testing.target import Target  # noqa: E402

__all__ = ["Msg", "Part", "SinkContract", "Target", "raw_slice"]
