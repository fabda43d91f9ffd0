"""The floors of the package, as data: which rooms there are, what each holds, and which may import which.

A room imports from the floors below it. Of its own floor it imports only the rooms it `knows`; rooms side by side do not know
each other otherwise. The tests, the figures and the picture all read this one table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from kafka_ingest_tests.architecture.imports import Import, Module


@dataclass(frozen=True, slots=True)
class Room:
    """A folder or a module of the package."""

    path: str
    """Below the package. `sinks/*` stands for every folder in `sinks`, each a room of its own."""
    holds: str
    knows: tuple[str, ...] = ()
    """The rooms of its own floor that it may import."""
    known_by: tuple[str, ...] | None = None
    """Where given, only these rooms may import it."""
    was: tuple[str, ...] = ()
    """Its paths before the package had floors, so that figures of older revisions compare."""


FLOORS: tuple[tuple[Room, ...], ...] = (
    (
        Room("errors.py", "The one tree of errors: retryable or permanent."),
        Room("type_names.py", "Names for the types of libraries whose parameters say nothing here."),
        Room("processes.py", "Child processes that end with the process that started them."),
        Room("dates", "Dates and times in the notations that messages use, as UTC.", knows=("errors.py",)),
        Room(
            "slices.py",
            "Offset ranges, batches, slices of messages, and what became of them.",
            knows=("errors.py", "dates", "type_names.py"),
            was=("records.py",),
        ),
        Room("settings.py", "Settings from the environment, typed and checked.", knows=("errors.py",)),
        Room("redaction.py", "Secrets taken out of texts.", knows=("errors.py", "settings.py")),
        Room("findings.py", "What a check of the set-up finds, and how to mend it.", knows=("redaction.py",)),
        Room(
            "local",
            "Real servers on this machine for demos and tests.",
            knows=("errors.py", "processes.py"),
            known_by=("sinks", "sinks/*", "cli"),
        ),
    ),
    (Room("streams", "What a person declares: streams, models, steps, and the tables they become."),),
    (Room("pipelines", "Bytes to frames: decode, run the steps, validate. No I/O."),),
    (Room("ledger", "Positions, loaded ranges and dead letters, in the target database."),),
    (
        Room("kafka", "What the cluster says, messages by exact ranges, offsets of the consumer group."),
        Room("sinks", "A slice into a database, rows, dead letters and ledger in one transaction."),
        Room("sinks/*", "What one database does its own way.", knows=("sinks",)),
    ),
    (Room("engine", "One run: what is due, plan, stages, loss, replay."),),
    (
        Room("backfill", "Which ranges a backfill loads, what it would change, and how far it is."),
        Room("proposal", "A stream written for its user from a sample of the topic, and how it has drifted since."),
        Room("checks", "Whether ledger, log, consumer group and tables agree; what became of a message; alerts."),
    ),
    (
        Room("orchestration", "Streams as Dagster assets, jobs, sensors, schedules and checks."),
        Room("testing", "The contract of a sink as tests that a person's own sink can run."),
        Room("definitions.py", "The Dagster code location.", knows=("orchestration",)),
        Room("__init__.py", "What a project that uses this package imports.", knows=("orchestration",)),
    ),
    (Room("cli", "The commands of `kafka-ingest`."),),
)

INSIDE_FUNCTIONS: dict[tuple[str, str], str] = {
    ("cli.doctor.command", "cli.doctor.database"): "a wrong setting is said without waiting for the clients",
    ("cli.doctor.command", "cli.doctor.kafka"): "as above",
    ("cli.doctor.command", "cli.doctor.schema_registry"): "as above",
    ("cli.ingest", "definitions"): "Dagster takes seconds to load; an option that is refused is refused at once",
    ("cli.ingest", "orchestration.names"): "as above",
    ("cli.metrics", "cli.metrics_server"): "it needs prometheus-client, which only the extra `metrics` brings",
    (
        "cli.main",
        "cli.local_servers",
    ): "it brings the clients of Kafka and the database, and is asked only where servers were started",
    (
        "cli.metrics",
        "orchestration.run_metrics",
    ): "Dagster takes seconds to load; it is looked at where DAGSTER_HOME is set",
    (
        "streams.formats.protobuf",
        "streams.formats.protobuf_values",
    ): "it needs the package protobuf, which only the extra `protobuf` brings in the version it takes",
    ("streams.formats.schema_samples", "streams.formats.protobuf_values"): "as above",
    ("redaction", "settings"): "it brings SQLAlchemy, and the command line answers --help without",
}
"""The only imports of this package inside functions, with the reason of each. They keep the floors, too."""

BY_NAME: dict[str, str] = {
    "sinks.registry": "a database's folder is imported with its first sink: a driver that is not used need not be there",
}
"""The only modules that may name one above them as a string, with the reason."""

KNOW_DIALECTS: dict[str, str] = {
    "sinks": "here is what differs from database to database",
}
"""The only folders and modules that may ask which database they talk to."""

ROOMS: dict[str, tuple[int, Room]] = {room.path: (floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms}


class NoRoom(LookupError):
    """A module that the table has no room for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module stands. `room` is the folder's own path where the table has a pattern."""

    floor: int
    room: str
    entry: Room


def place_of(module: Module) -> Place:
    """The room with the longest path that holds the module. Raises NoRoom where there is none."""
    for path in (module.path, *module.path.parents):
        for floor, room in ROOMS.values():
            for pattern in map(PurePosixPath, (room.path, *room.was)):
                if len(path.parts) == len(pattern.parts) and path.match(str(pattern)) and path.suffix == pattern.suffix:
                    return Place(floor, str(path) if pattern.name == "*" else room.path, room)
    raise NoRoom(f"{module.path} is in no room: give it one in {__name__}.FLOORS, or move it into one of {list(ROOMS)}")


def places_of(modules: Mapping[str, Module]) -> dict[str, Place]:
    """Where each module with content stands."""
    return {name: place_of(module) for name, module in modules.items() if not module.is_empty}


def forbidden(importer: Place, imported: Place) -> str | None:
    """Why the one may not import the other, or None where it may."""
    if importer.room == imported.room:
        return None
    known_by = imported.entry.known_by
    if known_by is not None and importer.entry.path not in known_by:
        return f"{imported.room} is for {', '.join(known_by)} only"
    if imported.floor < importer.floor:
        return None
    if imported.floor > importer.floor:
        return f"{imported.room} is on floor {imported.floor}, {importer.room} on floor {importer.floor}"
    if imported.entry.path in importer.entry.knows:
        return None
    return f"{importer.room} and {imported.room} stand side by side on floor {importer.floor}"


def upward(imports: Iterable[Import], places: Mapping[str, Place]) -> list[tuple[Import, str]]:
    """The imports that the floors forbid, each with the reason. Imports of empty modules say nothing."""
    return [
        (i, reason)
        for i in imports
        if i.importer in places and i.imported in places
        if (reason := forbidden(places[i.importer], places[i.imported])) is not None
    ]
