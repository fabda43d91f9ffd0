"""Hosts with addresses, process ids, names and disks of their own: network, pid, uts and mount namespaces on one bridge.

Each is a machine as far as a deployment can tell: it can vanish without a word on any connection, stand still, or lose its way
to one address. Needs root and iproute2.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

PREFIX_BITS = 24
NOBODY = "02:00:00:00:00:01"


class Network:
    """`with Network() as network: host = network.host("worker-0"); …`. The bridge has two addresses, `servers` and `database`, so
    that a host can be cut off from one of them."""

    def __init__(self) -> None:
        self._id = f"{os.getpid() % 100_000}{random.randrange(100):02d}"
        self._subnet = f"10.{random.randrange(80, 120)}.{random.randrange(256)}"
        self.servers = f"{self._subnet}.1"
        self.database = f"{self._subnet}.2"
        self.addresses = f"{self._subnet}.0/{PREFIX_BITS}"
        self._bridge = f"ki{self._id}b"
        self._hosts: list[Host] = []

    def __enter__(self) -> Network:
        assert os.geteuid() == 0, "network namespaces on a bridge need root"
        _ip("link", "add", self._bridge, "type", "bridge")
        for address in (self.servers, self.database):
            _ip("address", "add", f"{address}/{PREFIX_BITS}", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host in self._hosts:
            host.remove()
        _ip("link", "delete", self._bridge)

    def host(self, name: str, *, own: Mapping[Path, Path] | None = None) -> Host:
        """A new host. own: folders of its own that stand there in place of these."""
        number = len(self._hosts)
        namespace, address = f"ki{self._id}-{number}", f"{self._subnet}.{10 + number}"
        host = Host(name, namespace, f"ki{self._id}v{number}", address, dict(own or {}))
        self._hosts.append(host)
        host.create(self._bridge)
        return host


class Host:
    """Made by `Network.host`."""

    def __init__(self, name: str, namespace: str, link: str, address: str, own: Mapping[Path, Path]) -> None:
        self.name = name
        """Its host name."""
        self.address = address
        self._namespace, self._link, self._own = namespace, link, own

    def create(self, bridge: str) -> None:
        """Plug it into the bridge."""
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("link", "set", self._link, "master", bridge, "up")
        self._inside("address", "add", f"{self.address}/{PREFIX_BITS}", "dev", "eth0")
        for link in ("lo", "eth0"):
            self._inside("link", "set", link, "up")

    def remove(self) -> None:
        """End everything on it."""
        self._signal(signal.SIGKILL)
        _ip("netns", "delete", self._namespace)

    def command(self, program: Sequence[str]) -> list[str]:
        """What starts the program there. It ends with the process that started it."""
        mounts = "".join(f"mount --bind {mine} {place} && " for place, mine in self._own.items())
        alone = ["unshare", "--pid", "--fork", "--uts", "--mount-proc", "--kill-child"]
        begin = f'hostname "$0" && {mounts}exec "$@"'
        return ["ip", "netns", "exec", self._namespace, *alone, "sh", "-c", begin, self.name, *program]

    def vanish(self) -> None:
        """As a power cut: nobody hears of it. What ran there is gone."""
        _ip("link", "set", self._link, "down")
        self._signal(signal.SIGKILL)

    def come_back(self) -> None:
        """After `vanish` or `unplug`: the same address answers again."""
        _ip("link", "set", self._link, "up")

    def pause(self) -> None:
        """All its processes stand still; its kernel answers on their behalf."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def lose(self, address: str) -> None:
        """What it sends to this address is lost, over connections there were, too: it goes to a card that nobody has."""
        self._inside("neighbour", "replace", address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")

    def find(self, address: str) -> None:
        """It reaches that address again."""
        self._inside("neighbour", "delete", address, "dev", "eth0")

    def pids(self) -> list[int]:
        """Of its processes, as they are numbered here."""
        found = subprocess.run(["ip", "netns", "pids", self._namespace], capture_output=True, text=True, check=True)
        return [int(pid) for pid in found.stdout.split()]

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _inside(self, *arguments: str) -> None:
        _ip("-n", self._namespace, *arguments)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
