"""Where the module of a new stream goes: into the package of streams of the project that the command is run in."""

from __future__ import annotations

import importlib.util
import keyword
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kafka_ingest.errors import ConfigError
from kafka_ingest.settings import stream_modules

_NOWHERE = (
    "no package of streams was found to write the module into: run the command in a project, as `kafka-ingest init` makes one, "
    "or let KAFKA_INGEST_STREAMS name the package"
)


@dataclass(frozen=True, slots=True)
class ModulePlace:
    """The file of a module, and the package that makes its stream known."""

    file: Path
    package: str

    @property
    def module(self) -> str:
        return f"{self.package}.{self.file.stem}"


def module_place(name: str, folder: Path) -> ModulePlace:
    """Where the module of a stream goes: into the first package that KAFKA_INGEST_STREAMS names, else into `src/*/streams` of the
    folder.

    Raises ConfigError for a name that no module may have, and where there is no such package.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or name.startswith("__"):
        raise ConfigError(
            f"stream name {name!r} is none that a module of Python may have: letters, digits and _ only, no digit first",
            setting="name",
        )
    package, home = _package(stream_modules(), folder)
    return ModulePlace(home / f"{name}.py", package)


def _package(named: Sequence[str], folder: Path) -> tuple[str, Path]:
    for each in named:
        try:
            found = importlib.util.find_spec(each)
        except (ImportError, ValueError):
            continue
        if found is not None and found.submodule_search_locations:
            home = Path(next(iter(found.submodule_search_locations)))
            if each.split(".")[0] != "kafka_ingest":
                return each, home
    if named:
        raise ConfigError(
            f"KAFKA_INGEST_STREAMS is {', '.join(named)}, and none of it is a package that can be written into; name "
            "the project's package of streams, such as shop.streams",
            setting="KAFKA_INGEST_STREAMS",
        )
    homes = sorted(folder.glob("src/*/streams/__init__.py"))
    if len(homes) != 1:
        raise ConfigError(_NOWHERE, setting="KAFKA_INGEST_STREAMS")
    home = homes[0].parent
    return f"{home.parent.name}.streams", home


def write_module(place: ModulePlace, text: str, *, is_forced: bool) -> None:
    """Write the module. Raises ConfigError where the file is there already, unless that is meant, or cannot be written."""
    try:
        with place.file.open("w" if is_forced else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise already_there(place) from error
    except OSError as error:
        raise ConfigError(f"{place.file} cannot be written: {error.strerror}", setting="name") from error


def already_there(place: ModulePlace) -> ConfigError:
    """What is raised where the file is there."""
    return ConfigError(
        f"{place.file} is there already, and nothing is written over; --force writes over it, --check says how it has drifted "
        "from its topic",
        setting="name",
    )
