"""Streams proposed for samples that are made by hand, without servers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka_ingest.kafka.metadata import Watermarks
from kafka_ingest.pipelines.decode import FindSchemas, no_schemas
from kafka_ingest.proposal.plan import Column, ModelPlan
from kafka_ingest.proposal.propose import Proposal, Request, proposed
from kafka_ingest.proposal.sampling import Sample
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice


def sample_of(*messages: Any, topic: str = "things") -> Sample:
    """Messages of one partition; each is a `Msg`, or its value."""
    parts = [message if isinstance(message, Msg) else Msg(message) for message in messages]
    raw = raw_slice(Part(parts, topic=topic))
    return Sample(raw, {TopicPartition(topic, 0): Watermarks(0, len(parts))})


@contextmanager
def proposing(
    *messages: Any, find_schemas: FindSchemas = no_schemas, name: str = "things", topic: str = "things", **more: Any
) -> Iterator[tuple[Proposal, Stream]]:
    request = Request(name=name, topic=topic, **more)
    with proposed(request, sample_of(*messages, topic=topic), find_schemas) as found:
        yield found


def propose(*messages: Any, **options: Any) -> Proposal:
    """What is proposed for these messages."""
    with proposing(*messages, **options) as (proposal, _):
        return proposal


def times(_count: int, _message: Mapping[str, Any] | None = None, /, **fields: Iterable[Any]) -> list[dict[str, Any]]:
    """So many messages; of each of `fields` the values in turn."""
    given: dict[str, Sequence[Any]] = {name: list(values) for name, values in fields.items()}
    return [
        dict(_message or {}) | {name: values[at % len(values)] for name, values in given.items()}
        for at in range(_count)
    ]


def only_model(proposal: Proposal) -> ModelPlan:
    (model,) = proposal.plan.models
    return model


def columns(proposal: Proposal) -> dict[str, Column]:
    return {column.name: column for column in only_model(proposal).columns}


def declared(proposal: Proposal) -> dict[str, str]:
    """What each column of the module is declared with, by attribute."""
    return {
        node.target.id: _on_one_line(ast.get_source_segment(proposal.text, node.value) or "")
        for model in ast.parse(proposal.text).body
        if isinstance(model, ast.ClassDef)
        for node in model.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }


def _on_one_line(text: str) -> str:
    return " ".join(text.split()).replace("( ", "(").replace(", )", ")")


def kind(proposal: Proposal, name: str) -> str:
    """The type of a column as the module declares it."""
    found = columns(proposal)[name].type
    return "date_field()" if found.type is None else found.type.text


def ruff(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Ruff of the tests' own environment, which need not be on PATH; the modules of a user's folder are the user's own."""
    return subprocess.run(
        [sys.executable, "-m", "ruff", *arguments], capture_output=True, text=True, check=False, cwd=folder
    )


def check_format(text: str, folder: Path) -> str:
    """What `ruff format` would change of a module, at its own line length and at ours."""
    file = folder / "module.py"
    file.write_text(text)
    found = ""
    for length in ("88", "120"):
        done = ruff(folder, "format", "--isolated", "--diff", "--line-length", length, str(file))
        found += done.stdout
    return found
