"""Reading the machine's apt sources, to ask the same mirror for another suite."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kafka_ingest.local.errors import LocalServerError

ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]*)")


@dataclass(frozen=True)
class AptSource:
    """One place with binary packages: where it is, which suites, and how it is verified."""

    uri: str
    suites: tuple[str, ...]
    signed_by: str = ""

    def for_suites(self, suites: Iterable[str], components: str) -> str:
        """The same mirror and key with other suites, as a deb822 stanza."""
        lines = ["Types: deb", f"URIs: {self.uri}", f"Suites: {' '.join(suites)}", f"Components: {components}"]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        return "\n".join(lines) + "\n"


def machine_sources(apt_folder: Path = Path("/etc/apt")) -> list[AptSource]:
    """Every enabled binary source with a `main` component that apt is configured with, in apt's order."""
    listed = sorted((apt_folder / "sources.list.d").glob("*")) if (apt_folder / "sources.list.d").is_dir() else []
    sources: list[AptSource] = []
    for path in [apt_folder / "sources.list", *listed]:
        if path.suffix == ".sources" and path.is_file():
            sources += parse_deb822(path.read_text())
        elif path.suffix == ".list" and path.is_file():
            sources += parse_one_line(path.read_text())
    return sources


def main_source(codename: str, sources: Iterable[AptSource]) -> AptSource:
    """The source of the distribution itself: the one that offers exactly the suite `codename`."""
    aliases = {codename, "stable", "testing", "unstable", "sid"}
    candidates = list(sources)
    for wanted in ({codename}, aliases):
        for source in candidates:
            if wanted & set(source.suites):
                return source
    raise LocalServerError(
        f"no apt source for {codename or 'this distribution'} in /etc/apt: install a MySQL 8+ or MariaDB server "
        "yourself, so that mysqld or mariadbd is on PATH"
    )


def parse_deb822(text: str) -> list[AptSource]:
    """The sources of a `.sources` file; an inline key block in Signed-By is kept as it is."""
    sources = []
    for stanza in re.split(r"\n[ \t]*\n", "\n".join(line for line in text.splitlines() if not line.startswith("#"))):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        is_binary = "deb" in fields.get("types", "").split()
        if enabled and is_binary and "main" in fields.get("components", "").split() and fields.get("uris"):
            suites = tuple(fields.get("suites", "").split())
            sources.append(AptSource(fields["uris"].split()[0], suites, fields.get("signed-by", "")))
    return sources


def parse_one_line(text: str) -> list[AptSource]:
    """The sources of a `.list` file: `deb [options] URI SUITE COMPONENT…`."""
    sources = []
    for line in text.splitlines():
        found = ONE_LINE.match(line)
        if found and "main" in found["components"].split():
            options = dict(item.partition("=")[::2] for item in (found["options"] or "").split())
            sources.append(AptSource(found["uri"], (found["suite"],), options.get("signed-by", "")))
    return sources
