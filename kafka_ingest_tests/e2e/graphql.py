"""Requests to Dagster's webserver."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from kafka_ingest.local.ports import LOOPBACK

BACKFILL = """
mutation($keys: [String!], $assets: [AssetKeyInput!]) {
  launchPartitionBackfill(backfillParams: {partitionNames: $keys, assetSelection: $assets}) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
"""Of windows `keys` of tables `assets`, as the UI asks for it."""


def graphql(port: int, query: str, **variables: Any) -> dict[str, Any]:
    """One request; GraphQL errors fail the test."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    assert "errors" not in found, found["errors"]
    data: dict[str, Any] = found["data"]
    return data
