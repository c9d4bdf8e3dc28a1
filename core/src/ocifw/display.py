"""How commands show things to people: colours on a terminal, values on one line, texts in 80 columns."""

from __future__ import annotations

import os
from textwrap import wrap
from typing import TYPE_CHECKING

from .layers import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

WIDTH = 80

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}  # fmt: skip


class Paint:
    """Marks text with colours, or leaves it as it is."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __call__(self, text: str, *styles: str) -> str:
        if not self.on or not text or not styles:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def paint(fd: int = 1) -> Paint:
    """Colours when a terminal shows them, and NO_COLOR (no-color.org) does not say otherwise."""
    return Paint(
        os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def value_text(value: Any, limit: int = 60) -> str:
    """A value as JSON on one line, shortened; `nothing` where there is none."""
    if value is MISSING:
        return "nothing"
    from .document import dump

    text = dump(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def printable(text: str) -> str:
    """On one line, whatever the text holds."""
    return "".join([c if c.isprintable() else f"\\x{ord(c):02x}" for c in text])


def wrapped(text: str, first: str, rest: str, width: int = WIDTH) -> Iterator[str]:
    """Lines of at most `width` columns, but for words that are longer."""
    yield from wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
