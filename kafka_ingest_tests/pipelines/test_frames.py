"""Frames with other columns, without copies of those they keep."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kafka_ingest.pipelines.frames import with_columns


def test_the_frame_itself_is_not_changed_and_the_other_columns_are_not_copied() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4], "c": ["x", "y"]}, index=[5, 7])
    done = with_columns(frame, {"b": pd.Series([40, 30], [7, 5]), "d": pd.Series([True, False], [5, 7])})
    assert done.to_dict("list") == {"a": [1, 2], "b": [30, 40], "c": ["x", "y"], "d": [True, False]}
    assert list(done.columns) == ["a", "b", "c", "d"]
    assert frame.to_dict("list") == {"a": [1, 2], "b": [3, 4], "c": ["x", "y"]}
    assert np.shares_memory(done["a"].to_numpy(), frame["a"].to_numpy())
