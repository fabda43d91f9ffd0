"""A declaration names streams, models and steps by their Python path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_ingest.errors import DeclarationError
from kafka_ingest.streams.declaration import declared_stream
from kafka_ingest.testing.models import Event
from kafka_ingest_tests.support.declared import QUOTES


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of the user's with a stream, a model and a step in its module `quotes`."""
    folder = tmp_path / "declared_by_path"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "quotes.py").write_text(
        "from kafka_ingest.testing.models import BOOKINGS as STREAM, Event\n\ndef step(rows, context):\n    return rows\n"
    )
    (folder / "broken.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder.name
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        del sys.modules[name]


def test_a_stream_a_model_or_a_step_may_be_named_by_its_python_path(package: str) -> None:
    assert declared_stream(f"{package}.quotes.STREAM").name == "bookings"
    assert declared_stream(".quotes.STREAM", package=package).name == "bookings"
    named = declared_stream(QUOTES | {"routes": {"event": ".quotes.Event"}, "steps": [".quotes.step"]}, package=package)
    assert named.routes["event"] is Event
    assert named.steps is not None
    assert named.steps[0].__module__ == f"{package}.quotes"


def test_a_module_that_cannot_be_imported_says_why(package: str) -> None:
    with pytest.raises(
        DeclarationError, match=r"'\.broken\.STREAM', which cannot be imported.*no_such_module_anywhere"
    ):
        declared_stream(".broken.STREAM", package=package)
