"""What tests that load a `defs.yaml` share."""

from __future__ import annotations

import dagster as dg
import pytest

of_dagsters_own = pytest.mark.filterwarnings(
    "ignore:`parse_obj_as` is deprecated",
    "ignore:The `__fields__` attribute is deprecated",
    "ignore:.* is currently in (beta|preview)",
    "ignore:Function `ComponentLoadContext.build_defs_at_path` is deprecated",  # 1.12
)
"""Warnings that Dagster causes itself, where it reads YAML and makes a component's definitions."""


def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    """By asset key, as the UI writes it."""
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}
