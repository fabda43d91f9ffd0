"""How a backfill and its dry run read on a terminal, and as JSON."""

from __future__ import annotations

import time
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Table

from kafka_ingest.backfill.dry_run import Forecast
from kafka_ingest.backfill.progress import PROGRESS_TAG, duration_text, parse_tag
from kafka_ingest.cli.dagster_api import RunLook, RunNumbers
from kafka_ingest.slices import ranges_text

_PIPE_SECONDS = 5.0


class RunBar:
    """While open: a bar on stderr with messages, messages/s and time left; on a pipe, a line every 5 s."""

    def __init__(self, doing: str, *, is_shown: bool) -> None:
        self._doing = doing
        self._is_shown = is_shown
        console = Console(stderr=True)
        self._is_bar = is_shown and console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            disable=not self._is_bar,
        )
        self._task: TaskID = self._progress.add_task(doing, total=None, detail="")
        self._begun: tuple[float, int] | None = None
        self._said = time.monotonic()
        self._status = ""

    def __enter__(self) -> RunBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def follow(self, look: RunLook) -> None:
        """Show one look at a run."""
        done = parse_tag(look.tags.get(PROGRESS_TAG))
        if done is not None:
            self.move(*done)
        elif look.status != self._status:
            self._progress.update(self._task, description=look.status.lower().replace("_", " "))
            self._status = look.status

    def move(self, done: int, total: int) -> None:
        """Show `done` of `total`."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, done)
        seconds, moved = now - self._begun[0], done - self._begun[1]
        detail = f"{done:,} of {total:,} messages"
        if moved > 0 and seconds > 0:
            detail += f", {moved / seconds:,.0f}/s"
            if done < total:
                detail += f", {duration_text((total - done) * seconds / moved)} left"
        self._progress.update(self._task, description=self._doing, completed=done, total=total, detail=detail)
        if self._is_shown and not self._is_bar and now - self._said >= _PIPE_SECONDS:
            self._said = now
            click.echo(f"{self._doing}: {detail}", err=True)


def run_json(run_id: str, look: RunLook, loaded: RunNumbers, failure: str | None) -> dict[str, object]:
    """A finished run for programs."""
    tables = {name: numbers.get("rows", 0) for name, numbers in loaded.numbers.items()}
    return {
        "run_id": run_id,
        "status": look.status,
        "error": failure,
        "messages": _messages(loaded),
        "rows": {name: rows for name, rows in tables.items() if name != "dead_letters"},
        "dead_letters": tables.get("dead_letters", 0),
        "windows": list(loaded.windows),
        "seconds": _seconds(look),
    }


def run_text(run_id: str, look: RunLook, loaded: RunNumbers) -> str:
    """A finished run for people."""
    seconds = _seconds(look)
    lines = [f"Run {run_id}: {_messages(loaded):,} messages in {seconds:.1f} s"]
    for name, numbers in sorted(loaded.numbers.items()):
        rows = numbers.get("rows", 0)
        lines.append(f"  dead letters: {rows:,}" if name == "dead_letters" else f"  {name}: {rows:,} rows")
    return "\n".join(lines)


def _messages(loaded: RunNumbers) -> int:
    return max((numbers.get("messages", 0) for numbers in loaded.numbers.values()), default=0)


def _seconds(look: RunLook) -> float:
    return round((look.ended or 0.0) - (look.started or look.ended or 0.0), 1)


def forecast_table(forecast: Forecast) -> Table:
    """Rows per table that would change."""
    table = Table(title=f"Backfill of stream {forecast.stream}: what would change", title_justify="left")
    for name in ("table", "added", "changed", "unchanged", "removed"):
        table.add_column(name, justify="left" if name == "table" else "right")
    for name, rows in forecast.tables.items():
        table.add_row(name, *(f"{n:,}" for n in (rows.added, rows.changed, rows.unchanged, rows.removed)))
    return table


def forecast_text(forecast: Forecast) -> str:
    """The rest of a dry run."""
    lines = [
        f"Ranges: {ranges_text(forecast.ranges)}",
        f"Messages: {forecast.messages:,} ({forecast.ignored:,} ignored, {forecast.absent:,} offsets without a message)",
    ]
    if forecast.live_offsets:
        lines.append(f"Not loaded before: {forecast.live_offsets:,} offsets; the next offsets would move on over them")
    letters = ", ".join(f"{count:,} {stage}" for stage, count in sorted(forecast.dead_letters.items()))
    lines.append(
        f"Dead letters: {sum(forecast.dead_letters.values()):,}{f' ({letters})' if letters else ''}; "
        f"now {forecast.dead_letters_now:,}"
    )
    lines += [f"  {each.position}: {each.stage}: {each.error}" for each in forecast.first_dead_letters]
    lines.append("Nothing was written.")
    return "\n".join(lines)
