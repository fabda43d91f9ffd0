"""Running PostgreSQL's programs where we are root, as whom they refuse to run: as another account, on a folder only we can reach.

The account owns the folder with the data, but may not pass through the folders above it (those of a test are 0700). So the folder
is opened before the account is changed, and named by its descriptor: /proc/self/fd/9 leads there without a look at a path.
"""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from kafka_ingest.local.errors import LocalServerError

_ACCOUNTS = ("postgres", "nobody")
_DESCRIPTOR = 9
# An exec in the same process: what is started here is what is signalled later.
_BECOME = f"""import os, sys
folder, user, group, *command = sys.argv[1:]
os.dup2(os.open(folder, os.O_RDONLY | os.O_DIRECTORY), {_DESCRIPTOR}, inheritable=True)
os.chdir("/")
os.setgroups([])
os.setgid(int(group))
os.setuid(int(user))
os.execv(command[0], command)
"""


@dataclass(frozen=True)
class ServerAccount:
    """Who runs the server; None for both: ourselves."""

    user: int | None = None
    group: int | None = None

    @classmethod
    def find(cls) -> ServerAccount:
        """Ourselves, or an existing account without rights where we are root. Raises LocalServerError where there is none."""
        if os.geteuid() != 0:
            return cls()
        for name in _ACCOUNTS:
            try:
                found = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(found.pw_uid, found.pw_gid)
        raise LocalServerError(
            f"PostgreSQL does not run as root, and there is no account {' or '.join(_ACCOUNTS)} here: make one, or run as "
            "another user"
        )

    def make_folder(self, folder: Path) -> None:
        """A folder of the account's, which nobody else may read."""
        folder.mkdir(mode=0o700)
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)

    def command(self, folder: Path, program: tuple[str, ...], *options: str) -> list[str]:
        """The program on the data in `folder`, as this account."""
        if self.user is None:
            return [*program, "-D", str(folder), *options]
        become = [sys.executable, "-I", "-S", "-c", _BECOME, str(folder), str(self.user), str(self.group)]
        return [*become, *program, "-D", f"/proc/self/fd/{_DESCRIPTOR}", *options]
