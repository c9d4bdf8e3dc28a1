"""A line chart as SVG: both axes logarithmic, one line for each runtime, its name at the line's end. No dependencies."""

from __future__ import annotations

from math import ceil, floor, log10
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 90, 50, 50
# Told apart also by those who see no red or no green.
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#009e73")

Lines = dict[str, list[tuple[float, float]]]


def chart(title: str, across: str, up: str, lines: Lines) -> str:
    """The SVG. across and up: what the axes are. lines: by name, points whose numbers are all above 0."""
    points = [point for line in lines.values() for point in line]
    if not points:
        raise ValueError(f"{title}: nothing to draw")
    columns = _range([x for x, _ in points])
    rows = _range([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + _share(x, columns) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - _share(y, rows) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 24, title, size=15),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, across),
        f'<g transform="rotate(-90 16 {HEIGHT / 2:.0f})">{_text(16, HEIGHT / 2, up)}</g>',
    ]
    for value in _ticks(columns):
        x, bottom = place(value, 10 ** rows[0])
        parts.append(_line(x, TOP, x, bottom))
        parts.append(_text(x, bottom + 18, f"{value:g}"))
    for value in _ticks(rows):
        left, y = place(10 ** columns[0], value)
        parts.append(_line(left, y, WIDTH - RIGHT, y))
        parts.append(_text(left - 6, y + 4, f"{value:g}", anchor="end"))
    heights: list[float] = []
    for (name, line), colour in zip(lines.items(), COLOURS, strict=False):
        places = [place(x, y) for x, y in sorted(line)]
        if not places:
            continue
        path = " ".join([f"{x:.1f},{y:.1f}" for x, y in places])
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        height = _free(places[-1][1] + 4, heights)
        heights.append(height)
        parts.append(_text(places[-1][0] + 8, height, name, anchor="start", colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def _range(values: list[float]) -> tuple[float, float]:
    """Exponents of ten of the smallest and the largest value, with a margin: never equal."""
    low, high = log10(min(values)), log10(max(values))
    margin = max(0.05, (high - low) * 0.05)
    return low - margin, high + margin


def _share(value: float, of: tuple[float, float]) -> float:
    return (log10(value) - of[0]) / (of[1] - of[0])


def _ticks(of: tuple[float, float]) -> list[float]:
    """1, 2 and 5 of each power of ten that is in the range."""
    exponents = range(floor(of[0]), ceil(of[1]) + 1)
    values = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    return [value for value in values if of[0] <= log10(value) <= of[1]]


def _free(height: float, taken: list[float]) -> float:
    """The nearest height at which a name does not cover another."""
    while any(abs(height - other) < 13 for other in taken):
        height += 1
    return height


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="#ddd"/>'


def _text(
    x: float,
    y: float,
    text: str,
    anchor: str = "middle",
    size: int = 12,
    colour: str = "black",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
        f"{escape(text)}</text>"
    )
