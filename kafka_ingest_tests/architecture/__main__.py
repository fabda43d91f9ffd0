"""What the source looks like, from its source: figures, and the picture of its floors.

python -m kafka_ingest_tests.architecture figures [--rev REV …] [--json]
python -m kafka_ingest_tests.architecture picture [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import kafka_ingest
from kafka_ingest_tests.architecture.figures import ROWS, Figures, figures_of, tree_at
from kafka_ingest_tests.architecture.floors import NoRoom
from kafka_ingest_tests.architecture.picture import differing, write

ROOT = Path(kafka_ingest.__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m kafka_ingest_tests.architecture", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    figures = commands.add_parser("figures", help="a table of figures of the source")
    figures.add_argument(
        "--rev", action="append", default=[], help="of this git revision instead of the working tree; repeatable"
    )
    figures.add_argument("--json", action="store_true", help="with the names behind the numbers, for a program")
    picture = commands.add_parser(
        "picture", help="write docs/images/architecture.svg and the table in docs/architecture.md"
    )
    picture.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where they do not fit the source"
    )
    options = parser.parse_args()
    try:
        if options.command == "figures":
            return _show_figures(options.rev, as_json=options.json)
        if options.check:
            return _check_picture()
        write(ROOT)
    except (NoRoom, ValueError) as error:
        parser.error(str(error))
    return 0


def _show_figures(revisions: Sequence[str], *, as_json: bool) -> int:
    counted = {revision: _figures_at(revision) for revision in revisions} or {"working tree": figures_of(ROOT)}
    _print(json.dumps({label: asdict(f) for label, f in counted.items()}, indent=1) if as_json else table(counted))
    return 0


def _check_picture() -> int:
    stale = differing(ROOT)
    for path in stale:
        _print(
            f"{path.relative_to(ROOT)} does not fit the source: write it anew by the command `picture`, and commit it"
        )
    return 1 if stale else 0


def table(counted: Mapping[str, Figures]) -> str:
    """The figures as a table in Markdown, a column each."""
    lines = [f"| | {' | '.join(counted)} |", "|---" * (len(counted) + 1) + "|"]
    lines += [f"| {label} | {' | '.join(str(of(f)) for f in counted.values())} |" for label, of in ROWS]
    return "\n".join(lines)


def _figures_at(revision: str) -> Figures:
    with tree_at(ROOT, revision) as root:
        return figures_of(root)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
