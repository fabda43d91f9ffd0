"""What `dg` asks of the Component: to be found, to write a first `defs.yaml`, and to say what its attributes mean."""

from __future__ import annotations

from typing import Literal

import dagster as dg
import pytest
from dagster.components.core.package_entry import get_package_objects_in_module
from dagster.components.testing import create_defs_folder_sandbox

import kafka_ingest
from kafka_ingest import KafkaIngestComponent
from kafka_ingest.orchestration.component_schema import precise_schema
from kafka_ingest_tests.support.defs_yaml import of_dagsters_own, specs

pytestmark = of_dagsters_own


def test_it_is_the_one_component_that_dg_finds() -> None:
    assert [name for name, _ in get_package_objects_in_module(kafka_ingest)] == ["KafkaIngestComponent"]


@pytest.mark.parametrize(
    ("form", "name", "stream"),
    [
        ("yaml", "scaffolded", "scaffolded"),
        ("yaml", "my-quotes", "my_quotes"),
        ("yaml", "2024", "stream_2024"),
        ("python", "_private", "_private"),
    ],
)
def test_what_is_scaffolded_loads(
    form: Literal["yaml", "python"], name: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(KafkaIngestComponent, name, scaffold_format=form)
        with sandbox.build_all_defs() as defs:
            assert f"{stream}/{stream}" in specs(defs)
            dg.Definitions.validate_loadable(defs)
        assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {
            "stream.py",
            "component.py" if form == "python" else "defs.yaml",
        }


def test_scaffolding_leaves_a_stream_that_is_there() -> None:
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.defs_folder_path / "quotes"
        folder.mkdir()
        (folder / "stream.py").write_text("STREAM = 'mine'\n")
        sandbox.scaffold_component(KafkaIngestComponent, "quotes")
        assert (folder / "stream.py").read_text() == "STREAM = 'mine'\n"


def test_the_schema_has_every_attribute_with_what_it_means() -> None:
    schema = KafkaIngestComponent.model().model_json_schema()
    assert "$defs" not in schema
    assert schema["required"] == ["streams"]
    undescribed = {name for name, each in schema["properties"].items() if "description" not in each}
    assert undescribed == {"translation"}  # Dagster's own resolver takes no description


def test_in_the_schema_the_kind_of_a_value_chooses_what_is_said_of_it() -> None:
    """So that a checker names the word that is wrong: of `anyOf` it can only say that nothing fits."""
    template = {"type": "string", "pattern": r"\{\{|\{%"}
    schema = {
        "properties": {
            "a": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "string"}, {"type": "null"}], "description": "an a"},
            "n": {"type": "integer", "minimum": 1},
            "t": {"type": "string"},
            "x": {},
        },
        "$defs": {"A": {"type": "object", "properties": {"b": {"enum": ["c"], "type": "string"}}}},
    }
    inner = {"type": "object", "properties": {"b": {"if": template, "else": {"enum": ["c"], "type": "string"}}}}
    text = {"if": {"type": "string"}, "then": {"type": "string"}, "else": inner}
    null = {"if": {"type": "null"}, "then": {"type": "null"}, "else": text}
    assert precise_schema(schema) == {
        "properties": {
            "a": {"description": "an a", "if": template, "else": null},
            "n": {"if": template, "else": {"type": "integer", "minimum": 1}},
            "t": {"type": "string"},
            "x": {},
        }
    }
