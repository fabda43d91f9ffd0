"""What the benchmarks' command lines have in common: `[--quick] [--json FILE]`, figures as plain values, one table."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
"""Numbers, texts, lists and dictionaries of them: what JSON takes."""


def parser(description: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    made.add_argument("--quick", action="store_true", help="a small version, to see that it works: figures are rough")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return made


def loading_parser(name: str, description: str | None, *, messages: int, rounds: int) -> argparse.ArgumentParser:
    """Of a benchmark that loads so many messages into a server's database, and repeats it."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--messages", type=int, default=messages)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--database", choices=["mysql", "mariadb", "postgresql"], default="mysql")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    return made


def write_json(file: Path | None, figures: Mapping[str, Any]) -> None:
    if file is not None:
        file.write_text(json.dumps(figures, indent=1) + "\n")


def run(description: str | None, measure: Callable[[bool], Figures], report: Callable[[Figures], str]) -> None:
    """The command line of a benchmark that knows only those two: `measure(quick)`, its report printed, its figures written."""
    options = parser(description).parse_args()
    figures = measure(options.quick)
    print(f"\n{report(figures)}")
    write_json(options.json, figures)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
