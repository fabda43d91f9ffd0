"""The project that `kafka-ingest init` writes: its name, and the files in it."""

from __future__ import annotations

import keyword
import re
import sys
import unicodedata
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path

from kafka_ingest.errors import ConfigError

# Path below the project, and the template in this package that it is written from; None: an empty file.
_FILES = {
    "README.md": "README.md.txt",
    "pyproject.toml": "pyproject.toml.txt",
    ".gitignore": "gitignore.txt",
    ".env.example": "env.example.txt",
    "src/{{package}}/__init__.py": None,
    "src/{{package}}/definitions.py": "definitions.py.txt",
    "src/{{package}}/defs/__init__.py": None,
    "src/{{package}}/streams/__init__.py": None,
    "src/{{package}}/streams/orders.py": "stream.py.txt",
    "tests/test_orders.py": "test_stream.py.txt",
}


def package_name(folder: Path) -> str:
    """The name of the Python package of a project in this folder: the folder's own in lower case, with `_` for what cannot stand
    in a name.

    Raises ConfigError where that is no name, and where Python or an installed package has it: the project would hide that one.
    """
    plain = unicodedata.normalize("NFKD", folder.name).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    problem = _problem(name)
    if problem is not None:
        raise ConfigError(
            f"folder {folder.name!r} gives the project no name: {problem}. Take another folder", setting="PATH"
        )
    return name


def _problem(name: str) -> str | None:
    if not name.isidentifier():
        return "one begins with a letter from a to z"
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        return f"{name} is Python's"
    owners = packages_distributions().get(name, ())
    return f"{name} is a module of the installed {', '.join(sorted(owners))}" if owners else None


def project_name(package: str) -> str:
    """The name of the distribution, as package indexes write names."""
    return package.replace("_", "-")


def project_files(package: str) -> dict[str, str]:
    """The files of a new project, by their paths below its folder."""
    templates = files(__package__) / "template"
    texts = {
        path: "" if template is None else (templates / template).read_text(encoding="utf-8")
        for path, template in _FILES.items()
    }
    dagster_yaml = files("kafka_ingest.orchestration") / "dagster.yaml"
    texts["dagster_home/dagster.yaml"] = dagster_yaml.read_text(encoding="utf-8")
    return {_filled(path, package): _filled(text, package) for path, text in texts.items()}


def _filled(text: str, package: str) -> str:
    return text.replace("{{package}}", package).replace("{{project}}", project_name(package))


def write_project(folder: Path, package: str) -> list[str]:
    """Write the files of a new project and return their paths below `folder`, which is made if it is missing.

    Raises ConfigError where one of them is there already, and then has written none; and where the folder cannot be written.
    """
    contents = project_files(package)
    there = [path for path in contents if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        raise ConfigError(
            f"{folder} has {', '.join(there)} already, and nothing is written over; take another folder, or move "
            f"{'it' if len(there) == 1 else 'them'} away",
            setting="PATH",
        )
    try:
        for path, text in contents.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}", setting="PATH") from error
    return sorted(contents)
