"""docs/component.md: its files load, say what the Python of docs/streams.md says, and name every word that may be written."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from kafka_ingest import KafkaIngestComponent, Stream
from kafka_ingest.streams.declaration.column_types import COLUMN_TYPES
from kafka_ingest.streams.declaration.vocabulary import (
    BatchDeclaration,
    ColumnDeclaration,
    DurationDeclaration,
    RouteByDeclaration,
    StreamDeclaration,
    TableDeclaration,
)
from kafka_ingest.streams.model import Model
from kafka_ingest_tests.docs.pages import ROOT, Code, code_blocks, prose
from kafka_ingest_tests.support.defs_yaml import of_dagsters_own
from kafka_ingest_tests.support.meaning import meaning

pytestmark = of_dagsters_own

PAGE = ROOT / "docs" / "component.md"
FILES = [code for code in code_blocks(PAGE) if code.language == "yaml"]


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_PASSWORD", "WAREHOUSE_PASSWORD"):
        monkeypatch.setenv(name, "broker:9092")
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "mysql+pymysql://h/db")


def loaded(code: Code) -> tuple[KafkaIngestComponent, dg.Definitions]:
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "quotes"
        folder.mkdir()
        (folder / "stream.py").write_text("from kafka_ingest.testing.models import MIXED as STREAM\n")
        (folder / "defs.yaml").write_text(code.text)
        with sandbox.load_component_and_build_defs(folder) as (component, defs):
            dg.Definitions.validate_loadable(defs)
            assert isinstance(component, KafkaIngestComponent)
            return component, defs


@pytest.mark.parametrize("code", FILES, ids=str)
def test_every_file_of_the_page_loads(code: Code) -> None:
    component, _ = loaded(code)
    assert component.streams


@pytest.fixture
def in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    """The stream that docs/streams.md declares; its tables are forgotten afterwards."""
    (code,) = [code for code in code_blocks(ROOT / "docs" / "streams.md") if "STREAM = Stream(" in code.text]
    before = set(Model.metadata.tables)
    (tmp_path / "of_the_page.py").write_text(code.text)
    monkeypatch.syspath_prepend(str(tmp_path))
    stream = importlib.import_module("of_the_page").STREAM
    assert isinstance(stream, Stream)
    yield stream
    for name in set(Model.metadata.tables) - before:
        Model.metadata.remove(Model.metadata.tables[name])


def test_the_yaml_of_this_page_is_the_python_of_the_other(in_python: Stream) -> None:
    (code,) = [code for code in FILES if "instruments" in code.text]
    (in_yaml,) = loaded(code)[0].streams
    found, expected = meaning(in_yaml), meaning(in_python)
    for table in ("trades", "instruments"):  # a declared table has no other name
        assert (found[table].pop("model_name"), expected[table].pop("model_name")) != (None, None)
    assert found == expected


def test_the_translation_of_the_page_renames_the_tables() -> None:
    (code,) = [code for code in FILES if "translation:" in code.text]
    specs = {spec.key.to_user_string(): spec for spec in loaded(code)[1].resolve_all_asset_specs()}
    assert list(specs["warehouse/announcement"].owners) == ["team:bi"]
    assert "kafka/information" in specs


def test_every_word_and_type_is_on_the_page() -> None:
    quoted = " ".join(re.findall(r"`([^`]+)`", prose(PAGE)))
    words = {
        field.alias or name
        for declaration in (
            StreamDeclaration,
            BatchDeclaration,
            RouteByDeclaration,
            DurationDeclaration,
            TableDeclaration,
            ColumnDeclaration,
        )
        for name, field in declaration.model_fields.items()
    } | set(KafkaIngestComponent.model().model_fields)
    assert {word for word in words if not re.search(rf"\b{word}\b", quoted)} == set()
    assert [kind for kind in COLUMN_TYPES if f"`{kind}`" not in prose(PAGE)] == []
