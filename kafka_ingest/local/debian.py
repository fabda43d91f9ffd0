"""Unpacking a server from Debian or Ubuntu packages into the cache, without installing anything.

The machine's own mirror and keys are used with a private apt state, so the machine's apt is not changed. The package
comes with all its libraries, the C library and its loader included: it runs on an older system too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafka_ingest.local.debian_sources import machine_sources, main_source
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, build_once

APT_TIMEOUT_SECONDS = 900
UNNEEDED = re.compile(r"perl|libperl|libgdbm|libdb5")
"""Dependencies of the packages' scripts, which are not run."""


def unpacked(package: str, kind: str, progress: Progress) -> Path:
    """The cache folder with the file tree of the newest `package` (a regular expression) and its libraries.

    MySQL is in Debian's unstable suite only; everything else is taken from the machine's own suite. Downloaded once
    (mysql 50 MB, mariadb 15 MB) and then kept as it is. LocalServerError where there is no apt or it fails.
    """
    for tool in ("apt-get", "apt-cache", "apt-config", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise LocalServerError(
                f"no {kind} server on PATH and no `{tool}` to get one: install {kind} (for mysql 8 or newer) yourself"
            )
    release = os_release()
    codename = release.get("VERSION_CODENAME", "")
    ubuntu = release.get("ID") == "ubuntu"
    suites = ["sid"] if kind == "mysql" and not ubuntu else [codename]
    if ubuntu:
        suites.append(f"{codename}-updates")
    stanza = main_source(codename, machine_sources()).for_suites(suites, "main universe" if ubuntu else "main")
    return build_once(f"{kind}-{suites[0]}", lambda folder: _unpack(package, kind, stanza, folder, progress))


def os_release(path: Path = Path("/etc/os-release")) -> dict[str, str]:
    """The fields of os-release; empty where there is none."""
    if not path.is_file():
        return {}
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {key: value.strip().strip("\"'") for key, _, value in pairs}


def _unpack(package: str, kind: str, stanza: str, folder: Path, progress: Progress) -> None:
    apt_folder = folder / "apt"
    environment = {**os.environ, "APT_CONFIG": str(_private_apt(apt_folder, stanza))}
    progress(f"Downloading {kind} with apt (once; kept in {folder.parent}, nothing is installed)")
    _run(["apt-get", "-q", "update"], environment)
    names = _run(["apt-cache", "search", "--names-only", f"^{package}$"], environment).splitlines()
    if not names:
        raise LocalServerError(f"the machine's apt mirror has no {package}: install {kind} yourself")
    newest = max((line.split()[0] for line in names), key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    plan = _run(["apt-get", "-q", "-s", "install", "--no-install-recommends", newest], environment)
    wanted = [name for name in re.findall(r"^Inst (\S+)", plan, re.MULTILINE) if not UNNEEDED.match(name)]
    archives = folder / "archives"
    archives.mkdir()
    _run(["apt-get", "-q", "download", *wanted], environment, archives)
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(archive), str(folder / "root")], environment)
    for finished in (archives, apt_folder, folder / "root" / "usr" / "share" / "doc"):
        shutil.rmtree(finished, ignore_errors=True)


def _private_apt(folder: Path, stanza: str) -> Path:
    """An apt configuration with state of its own; only the machine's `Acquire` settings (proxies, …) are kept."""
    for name in ("lists/partial", "cache/archives/partial", "sources"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources" / "mirror.sources").write_text(stanza)
    dump = _run(["apt-config", "dump"], os.environ)
    kept = [line for line in dump.splitlines() if re.match(r"Acquire::(?!IndexTargets|Languages|Changelogs)", line)]
    lines = [
        *kept,
        f'Dir::State "{folder}";',
        f'Dir::State::Lists "{folder}/lists";',
        f'Dir::State::status "{folder}/status";',
        f'Dir::Cache "{folder}/cache";',
        'Dir::Etc::sourcelist "/dev/null";',
        f'Dir::Etc::sourceparts "{folder}/sources";',
        'Dir::Etc::main "/dev/null";',
        'Dir::Etc::parts "/dev/null";',
        'Dir::Etc::preferences "/dev/null";',
        'Dir::Etc::preferencesparts "/dev/null";',
        'Acquire::Languages "none";',
        'APT::Sandbox::User "root";',
        'APT::Update::Error-Mode "any";',  # else apt calls an unreachable mirror a success
    ]
    config = folder / "apt.conf"
    config.write_text("\n".join(lines) + "\n")
    return config


def _run(command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> str:
    try:
        answer = subprocess.run(
            list(command),
            env={**environment, "LC_ALL": "C"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=APT_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise LocalServerError(f"`{' '.join(command[:3])}` did not finish in {APT_TIMEOUT_SECONDS} s") from error
    if answer.returncode != 0:
        last = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-10:])
        raise LocalServerError(f"`{' '.join(command[:4])}` failed:\n{last}")
    return answer.stdout
