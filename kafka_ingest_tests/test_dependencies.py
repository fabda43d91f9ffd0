"""What pyproject.toml allows of other packages, against what is installed and what the package imports."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kafka_ingest
from kafka_ingest_tests.architecture.imports import Import, When, imports_of, read_modules

pytestmark = pytest.mark.slow

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(kafka_ingest.__file__).parent
PROJECT: dict[str, Any] = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
DEPENDENCIES = [Requirement(each) for each in PROJECT["dependencies"]]
# Modules that are imported only where an extra is wanted, and what it brings.
EXTRAS = {
    "kafka_ingest.kafka.schema_registry": ("registry", "httpx2"),
    "kafka_ingest.streams.formats.proto_text": ("protobuf", "protobuf"),
    "kafka_ingest.streams.formats.protobuf": ("protobuf", "protobuf"),
    "kafka_ingest.streams.formats.protobuf_values": ("protobuf", "protobuf"),
    "kafka_ingest.cli.metrics_server": ("metrics", "prometheus-client"),
    "kafka_ingest.sinks.postgresql": ("postgresql", "psycopg"),
}


@cache
def foreign() -> list[Import]:
    modules = read_modules(PACKAGE)
    return [
        i
        for module in modules.values()
        for i in imports_of(module, modules)
        # What is imported for types only cannot fail when the package runs.
        if i.imported.partition(".")[0] not in {*sys.stdlib_module_names, "kafka_ingest"}
        and i.when not in (When.BY_NAME, When.TYPING)
    ]


@pytest.mark.parametrize("dependency", DEPENDENCIES, ids=str)
def test_the_tests_run_with_versions_that_the_package_allows(dependency: Requirement) -> None:
    assert dependency.specifier.contains(version(dependency.name))


@pytest.mark.parametrize(("name", "newest"), [("dagster", "1.13"), ("dagster-webserver", "1.13"), ("PyMySQL", "1.2")])
def test_a_package_whose_internals_are_used_is_allowed_up_to_the_newest_tested_minor(name: str, newest: str) -> None:
    (specifier,) = [each.specifier for each in DEPENDENCIES if each.name == name]
    major, minor = map(int, newest.split("."))
    assert specifier.contains(f"{newest}.0")
    assert not specifier.contains(f"{major}.{minor + 1}.0")


PRIVATE = {
    # What a code location learns while it loads and hands to its runs: Dagster documents it, and exports no name for it.
    ("kafka_ingest.orchestration.window_starts", "dagster._core.definitions.definitions_load_context"),
    # Dagster has no call that deletes observations of sensors, results of checks, a part of a run's log, or many runs at once.
    ("kafka_ingest.orchestration.event_rows", "dagster._core.events"),
    ("kafka_ingest.orchestration.event_rows", "dagster._core.instance"),
    ("kafka_ingest.orchestration.event_rows", "dagster._core.storage.event_log"),
    ("kafka_ingest.orchestration.event_rows", "dagster._core.storage.event_log.schema"),
    ("kafka_ingest.orchestration.event_rows", "dagster._core.storage.runs"),
    ("kafka_ingest.orchestration.event_rows", "dagster._core.storage.runs.schema"),
    # Which storage has the records of runs, and a count of all runs at once.
    ("kafka_ingest.orchestration.dagster_records", "dagster._core.storage.runs"),
    ("kafka_ingest.orchestration.dagster_records", "dagster._core.storage.runs.schema"),
}


def test_private_modules_of_other_packages_are_not_imported() -> None:
    """But these, of a package that is allowed up to its newest tested minor version."""
    private = {(i.importer, i.imported) for i in foreign() if any(p.startswith("_") for p in i.imported.split("."))}
    assert private == PRIVATE


def test_every_package_that_is_imported_is_declared() -> None:
    declared = {canonicalize_name(each.name) for each in DEPENDENCIES}
    owners = packages_distributions()  # whose modules are named otherwise than they are
    tests_of_a_sink = {"pytest"}  # who runs kafka_ingest.testing has it
    undeclared = {
        (i.importer, i.imported)
        for i in foreign()
        if not {canonicalize_name(each) for each in owners.get(i.imported.partition(".")[0], [])}
        & (declared | tests_of_a_sink | brought_by_an_extra(i.importer))
    }
    assert undeclared == set()


def brought_by_an_extra(module: str) -> set[str]:
    return {package for place, (_, package) in EXTRAS.items() if f"{module}.".startswith(f"{place}.")}


@pytest.mark.parametrize(("extra", "package"), EXTRAS.values())
def test_an_extra_brings_what_its_modules_import_and_the_tests_have_it(extra: str, package: str) -> None:
    for group in (extra, "dev"):
        assert package in {
            canonicalize_name(Requirement(each).name) for each in PROJECT["optional-dependencies"][group]
        }
