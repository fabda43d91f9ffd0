"""Which sink serves which database: by its URL's backend, found when it is asked for and not before.

First what `register_sink` was given in this process, then the entry points of the group `kafka_ingest.sinks` (a package's own
`oracle = "my_package.sink:OracleSink"`), then the sinks of this package, then what the modules of `KAFKA_INGEST_STREAMS` register
when they are imported.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.sinks.base import Sink, SinkFactory, registered
from kafka_ingest.streams.registry import declared_streams

GROUP = "kafka_ingest.sinks"

# Named here, and imported when they are asked for: a driver that is not used need not be there.
_BUILT_IN = {
    "mysql": "kafka_ingest.sinks.mysql.sink:MySQLSink",
    "mariadb": "kafka_ingest.sinks.mysql.sink:MySQLSink",
    "sqlite": "kafka_ingest.sinks.sqlite.sink:SQLiteSink",
}


def backends() -> tuple[str, ...]:
    """Backends there is a sink for, sorted. Nothing is imported."""
    return tuple(sorted({*registered, *_BUILT_IN, *(each.name for each in entry_points(group=GROUP))}))


def sink_factory(backend: str) -> SinkFactory:
    """What makes the sink of a backend: its class, usually.

    Raises ConfigError for a backend nobody serves, for one that several installed packages serve, and where what an entry
    point names, or a module of streams, cannot be imported.
    """
    if backend in registered:
        return registered[backend]
    installed = list(entry_points(group=GROUP, name=backend))
    if not installed and backend not in _BUILT_IN:
        # It may be registered by a module of the user's, which stands among the streams, and is imported with them.
        declared_streams()
        if backend in registered:
            return registered[backend]
    if len({each.value for each in installed}) > 1:
        named = ", ".join(sorted({f"{each.value} of {each.dist.name if each.dist else '?'}" for each in installed}))
        raise ConfigError(
            f"several installed packages have a sink for {backend!r}: {named}; uninstall all but one",
            setting="KAFKA_INGEST_DATABASE_URL",
        )
    if not installed and backend not in _BUILT_IN:
        raise ConfigError(
            f"KAFKA_INGEST_DATABASE_URL has backend {backend!r}; there is a sink for {', '.join(backends())}. A new one is a "
            f"class that an entry point of the group {GROUP} names, or that is given to kafka_ingest.register_sink().",
            setting="KAFKA_INGEST_DATABASE_URL",
        )
    point = installed[0] if installed else EntryPoint(backend, _BUILT_IN[backend], GROUP)
    try:
        factory: SinkFactory = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"the sink for {backend!r}, {point.value}, cannot be imported: {error}{_advice(point)}",
            setting="KAFKA_INGEST_DATABASE_URL",
        ) from error
    return factory


def _advice(point: EntryPoint) -> str:
    """What to install, where the package of the sink has an extra of its backend's name."""
    extras = point.dist.metadata.get_all("Provides-Extra") if point.dist else None
    return f"; run pip install '{point.dist.name}[{point.name}]'" if point.dist and point.name in (extras or []) else ""


def sink_kind(backend: str) -> str:
    """What Dagster's UI shows on the tables of this backend (`Sink.kind`). Raises ConfigError as `sink_factory` does."""
    factory = sink_factory(backend)
    return factory.kind if isinstance(factory, type) and issubclass(factory, Sink) else Sink.kind


def local_server(backend: str) -> type[LocalDatabaseServer] | None:
    """A server of this kind for this machine; None where its sink has none. Raises ConfigError as `sink_factory` does."""
    factory = sink_factory(backend)
    return factory.local_server() if isinstance(factory, type) and issubclass(factory, Sink) else None


def open_sink(url: sa.URL) -> Sink:
    """The sink for a database URL; connects only when used.

    Raises ConfigError for a backend without a sink, and for a driver that cannot be used.
    """
    factory = sink_factory(url.get_backend_name())
    try:
        return factory(url)
    except (ImportError, sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        raise ConfigError(
            f"KAFKA_INGEST_DATABASE_URL has driver {url.drivername!r}, which cannot be used ({error}); "
            "for MySQL and MariaDB it is mysql+pymysql://…",
            setting="KAFKA_INGEST_DATABASE_URL",
        ) from None
