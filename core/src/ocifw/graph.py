"""A plan as a picture: a tree of phases, plugins and steps for the terminal, and an SVG with a lane for each side."""

from __future__ import annotations

from html import escape
from itertools import groupby
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from .display import WIDTH, Paint, printable, wrapped
from .phases import CONTAINER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .phases import Phase
    from .plan import Plan
    from .step import Step


def _by_plugin(steps: Sequence[Step]) -> list[tuple[str, list[Step]]]:
    return [(name, list(own)) for name, own in groupby(steps, lambda step: step.plugin)]


# ---- terminal ----------------------------------------------------------------------------------------------------


def tree(plan: Plan, paint: Paint) -> Iterator[str]:
    """Phases with steps, the plugins that gave them, and the steps, in 80 columns."""
    own = [(phase, steps) for phase, steps in plan.phases if steps]
    yield paint(plan.request.id, "bold")
    for number, (phase, steps) in enumerate(own):
        last = number == len(own) - 1
        colour = "green" if phase.side == CONTAINER else "cyan"
        yield (
            f"{'└' if last else '├'}─ {paint(f'{phase.number} {phase.name}', 'bold', colour)} "
            + paint(f"({phase.side}, {phase.verb})", colour)
        )
        yield from _plugins(steps, "   " if last else "│  ", paint)


def _plugins(steps: Sequence[Step], margin: str, paint: Paint) -> Iterator[str]:
    groups = _by_plugin(steps)
    for number, (plugin, own) in enumerate(groups):
        last = number == len(groups) - 1
        yield f"{margin}{'└' if last else '├'}─ {paint(plugin, 'yellow')}"
        below = margin + ("   " if last else "│  ")
        for index, step in enumerate(own):
            end = index == len(own) - 1
            yield from wrapped(
                printable(step.describe()),
                f"{below}{'└' if end else '├'}─ ",
                below + ("     " if end else "│    "),
                WIDTH,
            )


# ---- SVG ---------------------------------------------------------------------------------------------------------

_LANE, _GAP, _LEFT, _TOP = 560, 60, 20, 70
_LINE, _HEAD, _SPACE = 16, 26, 18
_LETTERS = 74
_FILL = {"runtime": ("#e8f1fb", "#2b6cb0"), "container": ("#e9f7ec", "#2f855a")}
_STYLE = (
    "text{font:12px ui-monospace,monospace;fill:#222}"
    ".h{font-weight:bold;font-size:13px}.p{font-weight:bold;fill:#744210}"
    ".t{font-weight:bold;font-size:15px}"
)


def svg(plan: Plan) -> str:
    """A lane for the runtime, one for the container; time runs down, arrows are where the side changes."""
    parts: list[str] = []
    y = _TOP
    before: tuple[Phase, int] | None = None
    for phase, steps in plan.phases:
        if not steps:
            continue
        lines = _lines(steps)
        height = _HEAD + _LINE * len(lines) + 8
        if before is not None:
            parts.append(_arrow(before, phase, y))
        parts.append(_box(phase, lines, y, height))
        before = (phase, y + height)
        y += height + _SPACE
    width = 2 * _LEFT + 2 * _LANE + _GAP
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">',
        f"<title>The plan of {escape(plan.request.id)}</title><style>{_STYLE}</style>",
        '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#666"/></marker></defs>',
        f'<rect width="{width}" height="{y}" fill="#fff"/>',
    ]
    titles = [
        f'<text class="t" x="{_x(side)}" y="40">{side}</text>' for side in ("runtime", "container")
    ]
    return "\n".join([*head, *titles, *parts, "</svg>"]) + "\n"


def _x(side: str) -> int:
    return _LEFT + (_LANE + _GAP if side == CONTAINER else 0)


def _lines(steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Pairs of class and text."""
    lines = []
    for plugin, own in _by_plugin(steps):
        lines.append(("p", plugin))
        lines += [("", printable(step.describe())) for step in own]
    return lines


def _cut(text: str) -> str:
    """What fits into a lane: letters of East Asia are twice as wide."""
    columns = 0
    for position, letter in enumerate(text):
        columns += 2 if east_asian_width(letter) in "WF" else 1
        if columns >= _LETTERS and text[position + 1 :]:
            return f"{text[:position]}…"
    return text


def _box(phase: Phase, lines: list[tuple[str, str]], y: int, height: int) -> str:
    x = _x(phase.side)
    fill, stroke = _FILL[phase.side]
    parts = [
        f'<rect x="{x}" y="{y}" width="{_LANE}" height="{height}" rx="5" fill="{fill}" stroke="{stroke}"/>',
        f'<text class="h" x="{x + 10}" y="{y + 18}">{phase.number} {escape(phase.name)}'
        f" · {escape(phase.verb)}</text>",
    ]
    for number, (kind, text) in enumerate(lines):
        indent = 10 if kind else 24
        short, tip = escape(_cut(text)), ""
        if _cut(text) != text:
            # Browsers show it where the pointer is.
            tip = f"<title>{escape(text)}</title>"
        parts.append(
            f'<text class="{kind or "s"}" x="{x + indent}" y="{y + _HEAD + 12 + number * _LINE}">{short}{tip}</text>'
        )
    return "\n".join(parts)


def _arrow(before: tuple[Phase, int], phase: Phase, y: int) -> str:
    start = _x(before[0].side) + _LANE // 2
    end = _x(phase.side) + _LANE // 2
    return f'<path d="M{start},{before[1]} L{end},{y}" stroke="#666" fill="none" marker-end="url(#a)"/>'
