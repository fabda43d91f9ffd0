"""What a peer runs, and where its rows are to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.peers.job import Job
from benchmarks.peers.tables import REQUIRED, rows_at_most


@dataclass(frozen=True, slots=True)
class Program:
    """A peer made ready: its table is there and empty, its files are written. It reads the topic from its start."""

    peer: str
    command: Sequence[str]
    table: str
    note: str
    """What was chosen, and what the peer does less than the others."""
    environment: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1
    """Messages it waits for: a last batch that is not full would say nothing about speed."""
    required: Sequence[str] = REQUIRED
    """Columns that must be filled in every row, so that a program that loads empty rows is no measurement."""
    at_most: str | None = None
    """The query for an upper bound of the rows, found without a scan; None: the highest row number of a peers' table."""

    @property
    def at_most_query(self) -> str:
        return self.at_most or rows_at_most(self.table)


class Peer(Protocol):
    def __call__(self, job: Job) -> AbstractContextManager[Program]:
        """Its files are deleted at the end of `with`.

        Raises NotMeasured where the peer cannot be had, saying why.
        """


def program(name: str) -> str:
    """The path of one of the programs that run in a peer's own venv."""
    return str(Path(__file__).with_name("programs") / name)
