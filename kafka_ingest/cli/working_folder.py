"""What a command takes from the folder it is run in, as `dagster dev` does there: settings in `.env`, and modules of streams."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from dotenv import dotenv_values


def use_working_folder(folder: Path, environ: MutableMapping[str, str], module_path: list[str]) -> None:
    """Take over the variables of `folder/.env`, if it is there, and find modules in the folder after all others.

    A variable of the file counts before one of the environment: `dagster dev` reads the same file so, and both have to mean one
    database.
    """
    environ.update({name: value for name, value in dotenv_values(folder / ".env").items() if value is not None})
    if str(folder) not in module_path:
        module_path.append(str(folder))
