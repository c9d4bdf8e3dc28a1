"""Reading YAML of profiles: plain values, and the line and column of every key and list member.

Only imported when a profile is compiled or checked: ruamel.yaml costs 23 ms. Of YAML 1.2 it takes what a profile needs,
and says what it refuses: tags, merge keys, several documents, keys that are no strings, duplicate keys, and numbers that
could be misread (`0644` is decimal in YAML 1.2, octal in 1.1: write `0o644`). `yes` and `on` are strings.

Files, values and depth are limited, so that nobody can fill the memory: an alias counts as often as what it stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from .errors import ConfigError, Problem
from .layers import path_text

if TYPE_CHECKING:
    from typing import Any, NoReturn

    from .layers import Path, Place

LIMIT_BYTES = 256 << 10
LIMIT_DEPTH = 32
LIMIT_VALUES = 20_000


class Document:
    """What a file says. value: plain mappings, lists and scalars. places: by path, counted from 1."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.value: Any = None
        self.places: dict[Path, Place] = {}

    def origin(self, path: Path) -> str:
        """FILE:LINE:COLUMN of a path, or of the nearest part above that has a place."""
        line, column = self.place(path)
        return f"{self.file}:{line}:{column}"

    def place(self, path: Path) -> Place:
        """Line and column of a path, or of the nearest part above that has a place."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, (1, 1))

    def problem(self, path: Path, message: str) -> Problem:
        """A Problem with a value of this file."""
        return Problem(path_text(path), message, self.origin(path))


def load(data: bytes, file: str) -> Document:
    """The document in a file; an empty one is an empty mapping. Raises ConfigError, with the place."""
    return _Loader(data, file).load()


class _Collection:
    """A mapping or list that is being read. anchor: its name, or "". size, depth: of what it holds so far."""

    def __init__(self, value: Any, path: Path, anchor: str, place: Place) -> None:
        self.value = value
        self.path = path
        self.anchor = anchor
        self.place = place
        self.key: str | None = None
        self.size = 1
        self.depth = 1


class _Loader:
    """One pass over the parser's events, without recursion."""

    def __init__(self, data: bytes, file: str) -> None:
        self.document = Document(file)
        self.data = data
        self.anchors: dict[str, tuple[Any, int, int]] = {}
        self.stack: list[_Collection] = []
        self.values = 0
        self.done = False

    def load(self) -> Document:
        if len(self.data) > LIMIT_BYTES:
            self._refuse((1, 1), f"larger than {LIMIT_BYTES} bytes")
        try:
            text = self.data.decode()
        except UnicodeDecodeError as error:
            before = self.data[: error.start]
            self._refuse((before.count(10) + 1, error.start - before.rfind(10)), "not UTF-8")
        try:
            for event in YAML(typ="rt", pure=True).parse(text):
                self._event(event)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self._refuse(place, f"not YAML: {error.problem or error.context}")
        except YAMLError as error:
            self._refuse((1, 1), f"not YAML: {str(error).splitlines()[0]}")
        if not self.done:
            self.document.value = {}
        return self.document

    def _refuse(self, place: Place, message: str, path: Path = ()) -> NoReturn:
        origin = f"{self.document.file}:{place[0]}:{place[1]}"
        raise ConfigError([Problem(path_text(path), message, origin)])

    def _event(self, event: Any) -> None:
        place = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            if self.done:
                self._refuse(place, "has a second document")
            if event.tags:
                self._refuse(place, "declares tags, which profiles do not have")
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._begin(event, place)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            ended = self.stack.pop()
            if ended.anchor:
                self.anchors[ended.anchor] = (ended.value, ended.size, ended.depth)
            self._add(ended.value, ended.size, ended.depth, ended.place, counted=True)
        elif isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                self._refuse(place, f"*{event.anchor} stands for a value that is not complete here")
            value, size, depth = self.anchors[event.anchor]
            self._add(value, size, depth, place)
        elif isinstance(event, ScalarEvent):
            self._scalar(event, place)

    def _begin(self, event: Any, place: Place) -> None:
        if event.tag is not None:
            self._refuse(place, f"tag {event.tag}: profiles have no tags", self._path())
        if len(self.stack) >= LIMIT_DEPTH:
            self._refuse(place, f"nested deeper than {LIMIT_DEPTH} levels")
        above = self.stack[-1] if self.stack else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            self._refuse(place, "a key must be a string", above.path)
        path = self._path()
        value: Any = {} if isinstance(event, MappingStartEvent) else []
        self.stack.append(_Collection(value, path, event.anchor or "", place))
        self._count(1, place)
        if path not in self.document.places:
            self.document.places[path] = place

    def _scalar(self, event: Any, place: Place) -> None:
        above = self.stack[-1] if self.stack else None
        if above is not None and isinstance(above.value, dict) and above.key is None:
            self._key(event, place, above)
            return
        if event.tag not in (None, "!"):
            self._refuse(place, f"tag {event.tag}: profiles have no tags", self._path())
        value = event.value
        if event.implicit[0]:
            value = self._plain(event.value, place)
        elif "\0" in value:
            self._refuse(place, "has a NUL character", self._path())
        elif not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            self._refuse(place, "has half of a surrogate pair, which is not text", self._path())
        if event.anchor:
            self.anchors[event.anchor] = (value, 1, 0)
        self._add(value, 1, 0, place)

    def _key(self, event: Any, place: Place, above: _Collection) -> None:
        key = event.value
        if event.implicit[0] and key == "<<":
            self._refuse(place, "merge keys are not supported: use extends, or repeat", above.path)
        if event.implicit[0] and not isinstance(_resolved(key), str):
            self._refuse(place, f"{key}: a key must be a string: write '{key}'", above.path)
        if key in above.value:
            first = self.document.places[(*above.path, key)]
            self._refuse(
                place, f"{key!r} is given twice, first in line {first[0]}", (*above.path, key)
            )
        above.key = key
        above.value[key] = None
        self.document.places[(*above.path, key)] = place

    def _plain(self, text: str, place: Place) -> Any:
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0" and digits.isdecimal():
            octal = f"0o{digits.lstrip('0') or '0'}"
            shown = f"write {octal} for an octal number" if set(digits) <= set("01234567") else ""
            self._refuse(
                place,
                f"{text} could be octal or decimal: {f'{shown}, or ' if shown else ''}"
                f"{digits.lstrip('0') or '0'} for a decimal one, or quote it",
                self._path(),
            )
        return _resolved(text)

    def _path(self) -> Path:
        """The path of the value that comes next."""
        if not self.stack:
            return ()
        above = self.stack[-1]
        if isinstance(above.value, dict):
            return (*above.path, above.key or "")
        return (*above.path, len(above.value))

    def _add(self, value: Any, size: int, depth: int, place: Place, counted: bool = False) -> None:
        if not counted:
            self._count(size, place)
            if len(self.stack) + depth > LIMIT_DEPTH:
                self._refuse(place, f"nested deeper than {LIMIT_DEPTH} levels, aliases resolved")
        if not self.stack:
            self.document.value = value
            self.document.places[()] = place
            self.done = True
            return
        above = self.stack[-1]
        above.size += size
        above.depth = max(above.depth, depth + 1)
        path = self._path()
        if isinstance(above.value, dict):
            above.value[above.key or ""] = value
            above.key = None
        else:
            self.document.places[path] = place
            above.value.append(value)

    def _count(self, size: int, place: Place) -> None:
        self.values += size
        if self.values > LIMIT_VALUES:
            self._refuse(place, f"more than {LIMIT_VALUES} values, aliases resolved")


def _resolved(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2, without special floats."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    sign = -1 if text[0] == "-" else 1
    digits = text[1:] if text[0] in "+-" else text
    if digits.isascii() and digits.isdecimal() and len(digits) <= 20:
        return sign * int(digits)
    for prefix, base in (("0o", 8), ("0x", 16)):
        if text.startswith(prefix) and len(text) <= 22 and text[2:].isalnum():
            try:
                return int(text[2:], base)
            except ValueError:
                return text
    if digits[:1].isdecimal() and "." in digits and set(digits) <= set("0123456789.eE+-"):
        try:
            return sign * float(digits)
        except ValueError:
            return text
    return text
