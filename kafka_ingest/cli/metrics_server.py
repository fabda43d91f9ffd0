"""The exported metrics in Prometheus' text format, printed or served over HTTP. Needs the extra `metrics`."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from kafka_ingest.checks.metric_families import FAMILIES, Family, Sample, by_family
from kafka_ingest.errors import ConfigError

# A client that sends nothing does not hold a thread for longer.
IDLE_SECONDS = 10.0

MetricFamily = CounterMetricFamily | GaugeMetricFamily


class _SamplesCollector(Collector):
    """Looks when it is scraped."""

    def __init__(self, look: Callable[[], list[Sample]]) -> None:
        self._look = look

    def describe(self) -> Iterator[MetricFamily]:
        """The names, without a look: for scrapes of single metrics (`?name[]=`)."""
        return (_metric(family, ()) for family in FAMILIES)

    def collect(self) -> Iterator[MetricFamily]:
        return (_metric(family, samples) for family, samples in by_family(self._look()).items())


def _metric(family: Family, samples: Sequence[Sample]) -> MetricFamily:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=family.labels)
    for sample in samples:
        metric.add_metric(sample.labels, sample.value)
    return metric


def _registry(look: Callable[[], list[Sample]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_SamplesCollector(look))
    return registry


def exposition(look: Callable[[], list[Sample]]) -> str:
    """What a scrape gets."""
    return generate_latest(_registry(look)).decode()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SixServer(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base class names it
        """A scrape every few seconds is no news."""


def serve(look: Callable[[], list[Sample]], host: str, port: int, *, ready: Callable[[str], object]) -> None:
    """Answer scrapes until KeyboardInterrupt. ready: is told the address once it is open.

    Looks once before, so that what takes long the first time is under way. Raises ConfigError where the address cannot be
    listened on.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        server = make_server(
            host,
            port,
            make_wsgi_app(_registry(look)),
            server_class=_SixServer if family == socket.AF_INET6 else _Server,
            handler_class=_Handler,
        )
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}. Name another address with --listen.", setting="--listen"
        ) from error
    with server, suppress(KeyboardInterrupt):
        look()
        shown = f"[{host}]" if ":" in host else host
        ready(f"Metrics at http://{shown}:{server.server_port}/metrics; Ctrl-C ends")
        server.serve_forever()
