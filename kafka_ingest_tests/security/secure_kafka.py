"""A real Apache Kafka with a listener for each way in, and for each way to be wrong, and an authorizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import LOOPBACK, free_port
from kafka_ingest_tests.security.certificates import EXPIRED, Authority, Identity

# What a listener's certificate is; the client trusts the first authority and asks for 127.0.0.1.
LISTENERS = ("MUTUAL", "SCRAM", "STRANGER", "ELSEWHERE", "EXPIRED")
WAIT_SECONDS = 30


@dataclass(frozen=True)
class SecureKafka:
    """The broker; its plain listener is the administrator's (a super user), who is nobody's client in these tests."""

    broker: LocalKafka
    authority: Authority
    stranger: Authority
    """An authority nobody here trusts."""
    ports: Mapping[str, int]
    admin: AdminClient

    @classmethod
    def start(cls, folder: Path) -> SecureKafka:
        authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
        identities = {
            "MUTUAL": authority.issue("broker", host=LOOPBACK),
            "SCRAM": authority.issue("broker-scram", host=LOOPBACK),
            "STRANGER": stranger.issue("broker", host=LOOPBACK),
            "ELSEWHERE": authority.issue("broker-elsewhere", host="kafka.example"),
            "EXPIRED": authority.issue("broker-expired", host=LOOPBACK, lasts=EXPIRED),
        }
        ports = {name: free_port() for name in ("BROKER", "CONTROLLER", *LISTENERS)}
        addresses = {name: f"{name}://{LOOPBACK}:{port}" for name, port in ports.items()}
        protocols = dict.fromkeys(("BROKER", "CONTROLLER"), "PLAINTEXT") | dict.fromkeys(LISTENERS, "SASL_SSL")
        protocols["MUTUAL"] = "SSL"
        properties = {
            "listeners": ",".join(addresses.values()),
            "advertised.listeners": ",".join(a for name, a in addresses.items() if name != "CONTROLLER"),
            "controller.quorum.voters": f"1@{LOOPBACK}:{ports['CONTROLLER']}",
            "listener.security.protocol.map": ",".join(f"{name}:{value}" for name, value in protocols.items()),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Who comes in unencrypted: the broker itself, and the tests' administrator.
            "super.users": "User:ANONYMOUS",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(authority.certificate),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.mutual.ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
        }
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        for name, identity in identities.items():
            if protocols[name] == "SASL_SSL":
                properties[f"listener.name.{name.lower()}.scram-sha-512.sasl.jaas.config"] = login
            properties[f"listener.name.{name.lower()}.ssl.keystore.type"] = "PEM"
            properties[f"listener.name.{name.lower()}.ssl.keystore.location"] = str(identity.both)
        broker = LocalKafka.start(folder / "broker", port=ports["BROKER"], properties=properties)
        return cls(
            broker,
            authority,
            stranger,
            ports,
            AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0}),
        )

    def set_password(self, user: str, password: str) -> None:
        """Make a SCRAM user, or give one another password."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        wanted = UserScramCredentialUpsertion(user, info, password.encode())
        self.admin.alter_user_scram_credentials([wanted])[user].result(WAIT_SECONDS)

    def allow(self, user: str, kind: ResourceType, name: str, operation: AclOperation) -> None:
        for future in self.admin.create_acls([_binding(user, kind, name, operation)]).values():
            future.result(WAIT_SECONDS)

    def forbid(self, user: str, kind: ResourceType, name: str, operation: AclOperation) -> None:
        """Take back what was allowed."""
        which = (f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        acl = AclBindingFilter(kind, name, ResourcePatternType.LITERAL, *which)
        for future in self.admin.delete_acls([acl]).values():
            assert future.result(WAIT_SECONDS), f"there was no {acl}"

    def scram(self, user: str, password: str, *, listener: str = "SCRAM") -> dict[str, str]:
        """The environment of a SASL_SSL client."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{self.ports[listener]}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": password,
            "KAFKA_SSL_CA_LOCATION": str(self.authority.certificate),
        }

    def mutual(self, identity: Identity, key_password: str | None = None) -> dict[str, str]:
        """The environment of a client with a certificate."""
        protected = {} if key_password is None else {"KAFKA_SSL_KEY_PASSWORD": key_password}
        return protected | {
            "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{self.ports['MUTUAL']}",
            "KAFKA_SECURITY_PROTOCOL": "SSL",
            "KAFKA_SSL_CA_LOCATION": str(self.authority.certificate),
            "KAFKA_SSL_CERTIFICATE_LOCATION": str(identity.certificate),
            "KAFKA_SSL_KEY_LOCATION": str(identity.key),
        }


def _binding(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    return AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
