"""librdkafka's errors → ours, by error code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from kafka_ingest.errors import AccessDenied, ConfigError, KafkaIngestError, KafkaUnavailable, PermanentError

_DENIED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._SSL,
    }
)
_PERMANENT = frozenset(
    {
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.OFFSET_METADATA_TOO_LARGE,
    }
)


def kafka_error(error: KafkaError, doing: str) -> KafkaIngestError:
    """Our error for librdkafka's, with what was being done. What is not known to be permanent is retryable."""
    code = error.code()
    text = f"{doing}: {error.str()} ({error.name()})"
    if code == KafkaError._INVALID_ARG or code == KafkaError._CONFLICT:
        return ConfigError(f"{text}. Check the KAFKA_* settings.", code=code)
    if code in _DENIED:
        return AccessDenied(
            f"{text}. Check the KAFKA_SASL_* and KAFKA_SSL_* settings and the ACLs of this user.", code=code
        )
    if code in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.REBALANCE_IN_PROGRESS):
        return PermanentError(
            f"{text}. Another consumer is a live member of this consumer group; stop it, or set KAFKA_GROUP_ID "
            "(or the stream's group_id) to a group of its own.",
            code=code,
        )
    if code in _PERMANENT:
        return PermanentError(text, code=code)
    return KafkaUnavailable(f"{text}. It is retried; if it stays, run `kafka-ingest doctor`.", code=code)


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Raise ours where librdkafka raises its own."""
    try:
        yield
    except KafkaException as error:
        raise kafka_error(error.args[0], doing) from error
