"""A Docker of the tests' own, without an image from anywhere: containers get this machine's programs, read only.

Needs root and Debian's docker.io (`make hosts` installs it). It has no bridge and leaves the machine's packet filter alone, so
containers are on this machine's network; process ids, host name and disk are their own.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka_ingest_tests.e2e.child import REPOSITORY

IMAGE = "kafka-ingest-tests:latest"
# Those of the kernel, and those that a container has to itself.
_NOT_SHARED = {"proc", "sys", "dev", "tmp", "run", "var", "boot", "lost+found", "mnt", "media", "home"}


def socket_in(folder: Path) -> str:
    """Value of DOCKER_HOST for the daemon of this folder."""
    return f"unix://{folder}/docker.sock"


@contextmanager
def docker_daemon(folder: Path) -> Iterator[Any]:
    """A client of a daemon that has IMAGE. Everything it ran ends with it."""
    program = shutil.which("dockerd")
    assert program is not None, "dockerd is missing: apt-get install docker.io (make hosts does it)"
    socket = socket_in(folder)
    places = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    command = [program, "-H", socket, *places, "--bridge=none", "--iptables=false", "--ip6tables=false"]
    with (folder / "docker.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as daemon:
        try:
            client = _connected(socket, daemon, folder)
            client.api.import_image_from_data(_empty_image(), repository=IMAGE.partition(":")[0], tag="latest")
            yield client
            for container in client.containers.list(all=True):
                container.remove(force=True)
        finally:
            daemon.terminate()
            daemon.wait(60)
            subprocess.run(
                ["umount", f"{folder}/exec/netns/default"], capture_output=True, check=False
            )  # it leaves that
            shutil.rmtree(folder / "data")  # images are large


def _connected(socket: str, daemon: subprocess.Popen[bytes], folder: Path) -> Any:
    import docker  # a package of the extra `hosts`, which only `make hosts` installs

    deadline = time.monotonic() + 60
    while True:
        try:
            client = docker.DockerClient(base_url=socket)
            client.ping()
        except (docker.errors.DockerException, OSError):
            assert daemon.poll() is None, (folder / "docker.log").read_text()[-3_000:]
            assert time.monotonic() < deadline, "Docker does not answer"
            time.sleep(0.5)
        else:
            return client


def _empty_image() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in ("proc", "sys", "dev", "tmp", "run"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(entry)
    return data.getvalue()


def container_options(*folders: Path) -> dict[str, Any]:
    """Of containers that run this environment's programs. folders: those they see besides, for reading."""
    roots = [Path("/") / name for name in sorted(each.name for each in Path("/").iterdir()) if name not in _NOT_SHARED]
    wanted = [Path(sys.prefix), Path(sys.base_prefix), REPOSITORY, *folders]
    outside = [place for place in wanted if not any(place.is_relative_to(root) for root in roots)]
    shared = [*(root for root in roots if root.is_dir()), *outside]
    volumes = {str(place.resolve()): {"bind": str(place), "mode": "ro"} for place in shared}
    return {"network_mode": "host", "volumes": volumes}
