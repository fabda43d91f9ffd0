"""What several tests on real servers share."""

from __future__ import annotations

import pytest

from kafka_ingest_tests.e2e.fresh_project import FreshEnvironment


@pytest.fixture(scope="session")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    """This package's wheel with Dagster's tools for projects, made once: the package registry takes a minute and more."""
    packages = ("create-dagster", "dagster-dg-cli", "dagster-webserver")
    return FreshEnvironment.make(tmp_path_factory.mktemp("environment"), *packages, extras="[postgresql]")
