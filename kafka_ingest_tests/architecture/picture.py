"""The picture of the floors, and their table, made from the source: rooms as boxes, arrows where one imports another.

An arrow that a way over other rooms stands for is left out. What the floors forbid is not drawn: the test names it.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from kafka_ingest_tests.architecture.floors import FLOORS, Place, forbidden, places_of
from kafka_ingest_tests.architecture.imports import Module, When, own_imports, read_modules, without_detours
from kafka_ingest_tests.architecture.layout import BOX_WIDTH, Layout, lay_out

PICTURE = "docs/images/architecture.svg"
PAGE = "docs/architecture.md"
TABLE_BEGINS = "<!-- The table is written by `python -m kafka_ingest_tests.architecture picture`. -->\n"
TABLE_ENDS = "<!-- End of the table. -->\n"

BOX_HEIGHT = 64
ROW_HEIGHT = 102
MARGIN = 14
LABEL_WIDTH = 56
TEXT_COLUMNS = 33
PORT_WIDTH = 14


@dataclass(frozen=True, slots=True)
class House:
    """What is drawn: per floor, the lowest first, its rooms with what they hold; and the arrows."""

    floors: list[dict[str, str]]
    levels: Mapping[str, tuple[int, int]]
    """Of each room its floor, and how many rooms of the same floor stand below it."""
    arrows: list[tuple[str, str]]


def house_of(modules: Mapping[str, Module]) -> House:
    """The rooms that have modules, and who imports whom. A room that the table gives by a pattern says what it holds itself."""
    places = places_of(modules)
    rooms = {place.room: place for place in places.values()}
    holds = {place.room: place.entry.holds for place in places.values()}
    for name, place in places.items():
        module = modules[name]
        if place.room != place.entry.path and str(module.path) == f"{place.room}/__init__.py":
            holds[place.room] = (ast.get_docstring(module.tree) or place.entry.holds).partition("\n")[0]
    arrows = {
        (places[i.importer].room, places[i.imported].room)
        for i in own_imports(modules)
        if i.when is not When.BY_NAME and i.importer in places and i.imported in places
        if forbidden(places[i.importer], places[i.imported]) is None
    }
    between = without_detours({(importer, imported) for importer, imported in arrows if importer != imported})
    floors = [
        {
            name: holds[name]
            for name in sorted(rooms, key=lambda name: _order(rooms[name]))
            if rooms[name].floor == floor
        }
        for floor in range(len(FLOORS))
    ]
    levels = {name: (place.floor, _depth(place, rooms)) for name, place in rooms.items()}
    return House(floors, levels, sorted(between))


def svg(house: House) -> str:
    """The picture, the highest floor at the top."""
    levels = sorted(set(house.levels.values()), reverse=True)
    rows = [[name for floor in house.floors for name in floor if house.levels[name] == level] for level in levels]
    layout = lay_out(rows, house.arrows, left=MARGIN + LABEL_WIDTH)
    top = {
        name: MARGIN + at * ROW_HEIGHT + (ROW_HEIGHT - BOX_HEIGHT) // 2 for at, row in enumerate(rows) for name in row
    }
    width = round(layout.right) + 2 * MARGIN
    height = len(rows) * ROW_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img">',
        "<title>The floors of kafka_ingest: each room imports what its arrows lead to, and what lies below that</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#57606a"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for floor in range(len(FLOORS)):
        at = [row for row, (level, _) in enumerate(levels) if level == floor]
        if at:
            y = MARGIN + at[0] * ROW_HEIGHT
            lines.append(
                f'<rect x="{MARGIN}" y="{y + 4}" width="{width - 2 * MARGIN}" height="{len(at) * ROW_HEIGHT - 8}" rx="6" '
                f'fill="#f6f8fa"/><text x="{MARGIN + 18}" y="{y + len(at) * ROW_HEIGHT / 2 + 7:g}" font-size="20" '
                f'fill="#8c959f">{floor}</text>'
            )
    lines += _arrows(house.arrows, rows, layout, top)
    for name, x in sorted(layout.x.items()):
        holds = next(floor[name] for floor in house.floors if name in floor)
        lines.append(_box(name, holds, x - BOX_WIDTH / 2, top[name]))
    return "\n".join([*lines, "</svg>", ""])


def table(house: House) -> str:
    """Floors and rooms in Markdown, the highest first."""
    lines = ["| floor | room | holds |", "|---:|---|---|"]
    for floor in reversed(range(len(house.floors))):
        for at, (room, holds) in enumerate(house.floors[floor].items()):
            lines.append(f"| {floor if at == 0 else ''} | [`{room}`](../kafka_ingest/{room}) | {holds} |")
    return "\n".join(lines) + "\n"


def rendered(root: Path) -> dict[Path, str]:
    """The files that are made from the source, as they should read."""
    house = house_of(read_modules(root / "kafka_ingest"))
    page = (root / PAGE).read_text()
    before, begins, rest = page.partition(TABLE_BEGINS)
    _, ends, after = rest.partition(TABLE_ENDS)
    if not (begins and ends):
        raise ValueError(
            f"{PAGE}: the table of floors stands between the lines\n{TABLE_BEGINS}and\n{TABLE_ENDS}; put them back"
        )
    return {root / PICTURE: svg(house), root / PAGE: f"{before}{begins}\n{table(house)}\n{ends}{after}"}


def differing(root: Path) -> list[Path]:
    """Those that do not fit the source."""
    return [path for path, text in rendered(root).items() if not path.exists() or path.read_text() != text]


def write(root: Path) -> None:
    """Write them."""
    for path, text in rendered(root).items():
        path.write_text(text)


def _order(place: Place) -> tuple[int, str]:
    """A floor's rooms in the table's order, those of one pattern by name."""
    return FLOORS[place.floor].index(place.entry), place.room


def _depth(place: Place, rooms: Mapping[str, Place]) -> int:
    below = [other for other in rooms.values() if other.floor == place.floor and other.entry.path in place.entry.knows]
    return max((1 + _depth(other, rooms) for other in below), default=0)


def _box(name: str, holds: str, x: float, y: float) -> str:
    lines = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{BOX_WIDTH:.0f}" height="{BOX_HEIGHT}" rx="6" fill="#ffffff" stroke="#0969da"/>',
        f'<text x="{x + 10:.0f}" y="{y + 19:.0f}" font-size="13" font-weight="600" fill="#1f2328">{escape(name)}</text>',
    ]
    for at, text in enumerate(textwrap.wrap(holds.replace("`", ""), TEXT_COLUMNS)):
        lines.append(
            f'<text x="{x + 10:.0f}" y="{y + 34 + 12 * at:.0f}" font-size="10.5" fill="#57606a">{escape(text)}</text>'
        )
    return "\n".join(lines)


def _arrows(
    arrows: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], layout: Layout, top: Mapping[str, int]
) -> list[str]:
    """Paths from the lower edge of a box over the arrow's lanes to the upper edge of another, side by side where they meet."""
    passing = {arrow: sorted(layout.lanes.get(arrow, {}).items()) for arrow in arrows}
    ends: dict[tuple[str, str], tuple[float, float]] = {}
    for source, target in arrows:
        lanes = [x for _, x in passing[source, target]]
        ends[source, target] = ([*lanes, layout.x[target]][0], [layout.x[source], *lanes][-1])
    row_top = [MARGIN + at * ROW_HEIGHT + (ROW_HEIGHT - BOX_HEIGHT) // 2 for at in range(len(rows))]
    paths = []
    for arrow in arrows:
        source, target = arrow
        leaving = sorted((a for a in arrows if a[0] == source), key=lambda a: ends[a][0])
        entering = sorted((a for a in arrows if a[1] == target), key=lambda a: ends[a][1])
        x, y = _beside(layout.x[source], leaving.index(arrow), len(leaving)), top[source] + BOX_HEIGHT
        path = [f"M{x:.0f} {y}"]
        for row, lane in passing[arrow]:
            path += [_curve(x, y, lane, row_top[row]), f"V{row_top[row] + BOX_HEIGHT}"]
            x, y = lane, row_top[row] + BOX_HEIGHT
        path.append(_curve(x, y, _beside(layout.x[target], entering.index(arrow), len(entering)), top[target]))
        paths.append(
            f'<path d="{" ".join(path)}" fill="none" stroke="#57606a" stroke-width="1.3" marker-end="url(#head)"/>'
        )
    return paths


def _beside(x: float, at: int, count: int) -> float:
    return x + (at - (count - 1) / 2) * PORT_WIDTH


def _curve(x: float, y: int, to_x: float, to_y: int) -> str:
    middle = (y + to_y) // 2
    return f"C{x:.0f} {middle} {to_x:.0f} {middle} {to_x:.0f} {to_y}"
