"""An admin client that knows why its connections fail: librdkafka's requests only say that they did."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient, ClusterMetadata

from kafka_ingest.errors import AccessDenied, KafkaUnavailable
from kafka_ingest.kafka.errors import kafka_errors

# How long a request waits at first: a refused password or certificate is known within a second, and waiting on for
# brokers that may come back is of no use then.
FIRST_LOOK_SECONDS = 2.0
_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})
# The broker's answer to our certificate: RFC 8446 (TLS 1.3), "Alert Protocol", bad_certificate to unknown_ca,
# access_denied, certificate_required. librdkafka has no code of its own for it.
_CERTIFICATE_ALERT = re.compile(r"SSL alert number (4[2-9]|116)\b")
# A broker that goes away in the middle of the handshake refused nothing.
_GONE = "Disconnected"

Answer = TypeVar("Answer")


class AskingAdmin:
    """One admin client. `asking` is `kafka_errors` for its requests, with the reason where connections are refused."""

    def __init__(self, client_properties: dict[str, Any]) -> None:
        self._said: list[KafkaError] = []
        with kafka_errors("configuring the Kafka client"):
            self.client = AdminClient(client_properties | {"error_cb": self._said.append})

    @contextmanager
    def asking(self, doing: str) -> Iterator[None]:
        """Raise ours for librdkafka's: AccessDenied where the brokers refuse us or we them, not KafkaUnavailable."""
        # What was said before, by connections that were idle, is no reason for this request's failure.
        self.client.poll(0)
        self._said.clear()
        try:
            with kafka_errors(doing):
                yield
        except KafkaUnavailable as error:
            # Why a connection fails (a refused password, a certificate) comes by the callback only, when polled for.
            self.client.poll(0)
            reasons = list(dict.fromkeys(_plain(e) for e in self._said if _is_refusal(e)))
            if not reasons:
                raise
            raise AccessDenied(
                f"{doing}: {'; '.join(reasons[:3])}. Check the KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_* and KAFKA_SSL_* "
                "settings, and that the certificates are for these hosts and not expired.",
                code=error.code,
            ) from error

    def list_topics(self, doing: str, *, timeout: float) -> ClusterMetadata:
        """The cluster's metadata; raises as `ask`."""
        return self.ask(doing, timeout, lambda seconds: self.client.list_topics(timeout=seconds))

    def ask(self, doing: str, timeout: float, request: Callable[[float], Answer]) -> Answer:
        """`request(its time limit)`; AccessDenied after FIRST_LOOK_SECONDS, KafkaUnavailable after `timeout` seconds."""
        try:
            with self.asking(doing):
                return request(min(timeout, FIRST_LOOK_SECONDS))
        except KafkaUnavailable:
            if timeout <= FIRST_LOOK_SECONDS:
                raise
        with self.asking(doing):
            return request(timeout - FIRST_LOOK_SECONDS)


def _is_refusal(error: KafkaError) -> bool:
    text = error.str()
    if error.code() in _REFUSED:
        return _GONE not in text
    return _CERTIFICATE_ALERT.search(text) is not None


def _plain(error: KafkaError) -> str:
    """Without the times librdkafka adds, which differ from attempt to attempt."""
    return re.sub(r" \(after \d+ms in state \w+\)", "", error.str())
