"""A stand-in for Docker's image of Python, as no registry of images is asked: Debian's Python from Debian's packages.

Its Python is the release's, so another one than the image's name says. Needs root and debootstrap (`make hosts` installs it).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

_PACKAGES = "ca-certificates,python-is-python3,python3,python3-pip,python3-venv"
# What pip needs on this machine, it needs in the image.
_SETTINGS_OF_PIP = (Path("/etc/pip.conf"), Path("/etc/ssl/certs/ca-certificates.crt"))


def import_python_image(client: Any, name: str, folder: Path) -> None:
    """Make the image of this name (`repository:tag`) in a Docker. folder: for its files, some 500 MB, which go again."""
    program = shutil.which("debootstrap")
    assert program is not None, "debootstrap is missing: apt-get install debootstrap (make hosts does it)"
    root, archive = folder / "root", folder / "image.tar"
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    _run(program, "--variant=minbase", f"--include={_PACKAGES}", suite, str(root))
    for file in _SETTINGS_OF_PIP:
        if file.exists():
            shutil.copy(file, root / file.relative_to("/"))
    _run("tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "-cf", str(archive), ".")
    shutil.rmtree(root)
    repository, _, tag = name.partition(":")
    # Docker's own image has a Python that is nobody else's: pip may write there.
    settings = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    settings["PIP_BREAK_SYSTEM_PACKAGES"] = "1"
    changes = [f'ENV {name}="{value}"' for name, value in settings.items()]
    client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
    archive.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-3_000:]}{done.stderr[-3_000:]}"
