"""Line and column of every value of a JSON text. For explanations: starting a container needs none of it."""

from __future__ import annotations

import re
from _json import scanstring
from typing import TYPE_CHECKING

from .document import LIMIT_BYTES

if TYPE_CHECKING:
    from typing import Any

    from .layers import Path, Place

_SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r"[^\s,\]}]+")


def places(text: str) -> dict[Path, Place]:
    """Line and column, from 1, by path: of members of an object where their name begins, else where the value does.

    The text is known to be JSON. A name that is given twice keeps its last place, as it keeps its last value.
    """
    walk = _Walk(text)
    walk.value(0, ())
    return walk.found


def places_of_file(path: str) -> dict[Path, Place]:
    """The places of a file; none when it cannot be read (any more)."""
    try:
        with open(path, "rb") as file:
            return places(file.read(LIMIT_BYTES).decode())
    except (OSError, ValueError, IndexError, AttributeError):
        return {}


def original(path: Path, value: Any, before: Any) -> Path:
    """Where a value of the effective config stands in config.json: members of lists may have moved."""
    from .layers import KEYED, key_of

    found: Path = ()
    for depth, part in enumerate(path):
        value = value[part]
        if isinstance(part, int) and isinstance(before, list):
            field = KEYED.get(path[:depth])
            for index in dict.fromkeys((part, *range(len(before)))):
                if index < len(before) and (
                    before[index] == value
                    or (field is not None and key_of(before[index], field) == key_of(value, field))
                ):
                    part = index
                    break
        try:
            before = before[part]
        except (LookupError, TypeError):
            break
        found = (*found, part)
    return found


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.found: dict[Path, Place] = {}
        self.line = 1
        self.line_start = 0
        self.counted = 0

    def value(self, at: int, path: Path) -> int:
        """Note the places in the value that begins here; returns the position after it."""
        at = self._skip(at)
        if path not in self.found:
            self.found[path] = self._place(at)
        letter = self.text[at]
        if letter == "{":
            return self._members(at + 1, path)
        if letter == "[":
            return self._items(at + 1, path)
        if letter == '"':
            return int(scanstring(self.text, at + 1, True)[1])
        plain = _PLAIN.match(self.text, at)
        return plain.end() if plain else at + 1

    def _members(self, at: int, path: Path) -> int:
        while True:
            at = self._skip(at)
            if self.text[at] == "}":
                return at + 1
            if self.text[at] == ",":
                at = self._skip(at + 1)
            place = self._place(at)
            name, at = scanstring(self.text, at + 1, True)
            below = (*path, name)
            for old in [old for old in self.found if old[: len(below)] == below]:
                del self.found[old]
            self.found[below] = place
            at = self.value(self._skip(at) + 1, below)

    def _items(self, at: int, path: Path) -> int:
        index = 0
        while True:
            at = self._skip(at)
            if self.text[at] == "]":
                return at + 1
            if self.text[at] == ",":
                at += 1
            at = self.value(at, (*path, index))
            index += 1

    def _skip(self, at: int) -> int:
        space = _SPACE.match(self.text, at)
        return space.end() if space else at

    def _place(self, at: int) -> Place:
        # Places are asked for in order: each line is counted once.
        self.line += self.text.count("\n", self.counted, at)
        self.counted = at
        return self.line, at - self.text.rfind("\n", 0, at)
