"""Options of the commands that start servers on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from kafka_ingest.local.stack import KAFKA_KINDS
from kafka_ingest.sinks.registry import backends

LOCAL_ROOT = Path(".local")
"""Below the folder a command is run in."""
ROOT_OPTION = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=LOCAL_ROOT,
    show_default=True,
    help="Folder for the servers' data, logs and passwords.",
)
KAFKA_OPTION = click.option("--kafka", type=click.Choice(["auto", *KAFKA_KINDS]), default="auto", show_default=True)
DATABASE_OPTION = click.option(
    "--database", type=click.Choice(["auto", *backends()]), default="auto", show_default=True
)
