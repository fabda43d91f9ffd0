"""What `dg scaffold defs kafka_ingest.KafkaIngestComponent NAME` writes: the component and a stream, which load as they are."""

from __future__ import annotations

import re
from string import Template

import dagster as dg

_YAML = Template("""\
# Streams of Kafka topics into database tables; all attributes: the page "The Dagster Component" of kafka_ingest's manual.
type: $type

attributes:
  # Texts that are {{ env.NAME }} and nothing else are read in the run and shown nowhere: so it has to be with secrets.
  kafka:
    bootstrap_servers: "{{ env.KAFKA_BOOTSTRAP_SERVERS }}"
    # security_protocol: SASL_SSL
    # sasl_mechanism: SCRAM-SHA-512
    # sasl_username: loader
    # sasl_password: "{{ env.KAFKA_SASL_PASSWORD }}"

  database:
    url: "{{ env.KAFKA_INGEST_DATABASE_URL }}" # mysql+pymysql://user:password@host:3306/database

  streams:
    # In Python, in stream.py beside this file …
    - .stream.STREAM
    # … or here, in the same words:
    # - name: trades
    #   topics: trades
    #   routes:
    #     trade: # what stands in a message's field "type"
    #       table: trades
    #       columns:
    #         symbol: VARCHAR(16)
    #         price: {type: DOUBLE, path: last.price}
    #         traded_at: {type: DATETIME(6), timezone: Asia/Shanghai}

  # Needed where the project has several of these components.
  # key_prefix: $name
""")

_PYTHON = Template('''\
"""Streams of Kafka topics into database tables."""

import dagster as dg
from kafka_ingest import DatabaseResource, KafkaIngestComponent, KafkaResource

from .stream import STREAM


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> KafkaIngestComponent:
    return KafkaIngestComponent(
        streams=[STREAM],
        kafka=KafkaResource(bootstrap_servers=dg.EnvVar("KAFKA_BOOTSTRAP_SERVERS")),
        database=DatabaseResource(url=dg.EnvVar("KAFKA_INGEST_DATABASE_URL")),
        # key_prefix="$name",  # needed where the project has several of these components
    )
''')

_STREAM = Template('''\
"""Stream $name: a topic, its message types, and the table each becomes."""

from datetime import datetime

from kafka_ingest import AppendModel, Stream, date_field, field
from sqlalchemy import Float, String
from sqlalchemy.orm import Mapped


class $model(AppendModel):  # UpsertModel: one row per business key (primary_key=True)
    """Each message is a row."""

    __tablename__ = "$name"

    symbol: Mapped[str] = field(String(16))
    price: Mapped[float] = field(Float, path="last.price")  # nested JSON field
    at: Mapped[datetime] = date_field(timezone="Asia/Shanghai")  # naive dates are in this zone; stored as UTC
    note: Mapped[str | None] = field(String(200))  # may be missing; a message without one of the others is a dead letter


# The message type stands in the field "type"; other places: route_by=RouteByHeader("name") or RouteByTopic().
STREAM = Stream(name="$name", topics="$name", routes={"$name": $model})
''')


class KafkaIngestScaffolder(dg.Scaffolder):
    """Writes `defs.yaml` (or, as Python, `component.py`) and `stream.py`. Files that are there stay."""

    def scaffold(self, request: dg.ScaffoldRequest) -> None:
        """As Dagster asks; the stream, its topic and its table are named like the folder."""
        if request.append:  # to the defs.yaml of another component, of whose streams nothing is known
            dg.scaffold_component(request, {"streams": []})
            return
        name = _identifier(request.target_path.name)
        words = {"type": request.type_name, "name": name, "model": _class_name(name)}
        component = ("component.py", _PYTHON) if request.scaffold_format == "python" else ("defs.yaml", _YAML)
        for file, text in (component, ("stream.py", _STREAM)):
            path = request.target_path / file
            if not path.exists():
                path.write_text(text.substitute(words), encoding="utf-8")


def _identifier(folder: str) -> str:
    """A name that a stream can have."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", folder)[:60]
    return f"stream_{name}" if name[:1].isdigit() else name


def _class_name(name: str) -> str:
    parts = "".join(part.capitalize() for part in name.split("_"))
    return parts if parts[:1].isalpha() else f"Model{parts}"
