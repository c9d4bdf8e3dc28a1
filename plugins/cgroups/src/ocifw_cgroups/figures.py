"""Numbers from the files of cgroups, in the form of runc's stats document."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def keyed(text: str) -> dict[str, int]:
    """A file of lines `NAME NUMBER` as a mapping. Other lines are left out."""
    figures = {}
    for line in text.split("\n"):
        name, _, number = line.partition(" ")
        if number.isdecimal():
            figures[name] = int(number)
    return figures


def limit_or_max(text: str, maximum: int) -> int:
    """A limit, `maximum` for "max"."""
    return maximum if text == "max" else int(text)


def compact(figures: dict[str, Any]) -> dict[str, Any]:
    """Without zeros and empty values, which runc's document leaves out."""
    return {key: value for key, value in figures.items() if value}
