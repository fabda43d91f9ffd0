"""What the demo shows while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from kafka_ingest.cli.status_state import StreamStatus


@dataclass(frozen=True, slots=True)
class DemoState:
    """One look at the demo. `status` is None until Kafka and the database have answered once."""

    seconds: float
    produced: int
    bad: int
    rate: float
    status: StreamStatus | None
    runs: Mapping[str, int]
    trouble: str | None = None


def plain_line(state: DemoState) -> str:
    """For logs and pipes."""
    parts = [f"{state.seconds:.0f} s: {state.produced:,} produced ({state.bad:,} bad)"]
    if state.status is not None:
        parts += [f"{t.table} {t.rows or 0:,} rows" for t in state.status.tables]
        parts += [f"dead letters {state.status.dead_letters:,}", f"lag {state.status.lag:,}"]
    parts.append(f"runs {runs_text(state.runs)}")
    if state.trouble:
        parts.append(state.trouble)
    return ", ".join(parts)


def runs_text(runs: Mapping[str, int]) -> str:
    """`3 (1 started, 2 success)`."""
    total = sum(runs.values())
    return f"{total} ({', '.join(f'{n} {status}' for status, n in sorted(runs.items()))})" if total else "0"


def panel(state: DemoState, *, ui: str) -> RenderableType:
    """For a terminal."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    table.add_row("produced", f"{state.produced:,}", f"{state.bad:,} bad on purpose, {state.rate:g}/s")
    if state.status is not None:
        for each in state.status.tables:
            table.add_row(f"table {each.table}", f"{each.rows or 0:,}", "rows")
        table.add_row("dead letters", f"{state.status.dead_letters:,}", "with their original bytes")
        table.add_row("lag", f"{state.status.lag:,}", "messages not loaded yet")
    table.add_row("runs", f"{sum(state.runs.values())}", ", ".join(f"{n} {s}" for s, n in sorted(state.runs.items())))
    if state.trouble:
        table.add_row(Text("trouble", style="red"), "", Text(state.trouble, style="red"))
    return Panel(
        table,
        title=Text(f"kafka-ingest demo, {state.seconds:.0f} s"),
        subtitle=Text(f"{ui}   Ctrl-C ends it"),
        expand=False,
    )
