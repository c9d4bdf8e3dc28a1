"""Whether a document can be used: the schema first, then the spec's rules; all that is wrong at once.

The yes of a valid document costs some 40 µs: generated code (acceptance.py) and plain rules (rules.py). Only a no
imports jsonschema, which tells why (explain.py).
"""

from __future__ import annotations

from . import acceptance
from .rules import violations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Warnings = list[tuple[str, str]]

_ACCEPTS = {
    "config": acceptance.accepts_config,
    "process": acceptance.accepts_process,
    "resources": acceptance.accepts_resources,
}
_NOTHING: frozenset[str] = frozenset()
_OTHER_PLATFORMS = frozenset({"freebsd", "solaris", "vm", "windows", "zos"})


def check(document: Any, kind: str, origin: str) -> None:
    """Raise ConfigError with every problem of a document, each with its path.

    kind: "config" (config.json), "process" (process.json of exec) or "resources" (of update). origin: the file it
    came from. Unknown properties are no problem: see `warnings`. A process may be missing: `create` does not need one.
    """
    if _ACCEPTS[kind](document):
        found = violations(document, kind)
        if not found:
            return
    else:
        from .explain import schema_problems

        broken = schema_problems(document, kind)
        places = [path for path, _ in broken]
        found = broken + violations(document, kind, places) if places != [""] else broken
    from .errors import ConfigError, Problem

    raise ConfigError([Problem(path, message, origin) for path, message in found])


def warnings(document: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    """Pairs of path and message about what a valid document says in vain: unknown properties, and deprecated ones.

    The spec demands that unknown properties are ignored; a misspelt one should not go unnoticed.
    """
    found: Warnings = []
    if not _is_known(document, acceptance.PROPERTIES[kind]):
        _unknown(document, acceptance.PROPERTIES[kind], "", found)
    if kind == "config":
        for index, mount in enumerate(document.get("mounts") or ()):
            if mount["destination"][:1] != "/":
                message = (
                    f"mount destination {mount['destination']!r} is not absolute: taken from /"
                )
                found.append((f"mounts[{index}].destination", message))
    return found


def _is_known(value: dict[str, Any], properties: acceptance.Properties) -> bool:
    """Whether a value has no unknown properties, in the time that every container may take."""
    known, holders = properties
    if not value.keys() <= known:
        return False
    for name, shape, below in holders:
        member = value.get(name)
        if not member:
            continue
        if not shape:
            if not _is_known(member, below):
                return False
            continue
        items = member if shape == "[]" else member.values()
        # The many small objects, such as mounts, are looked at in one go.
        if not below[0].issuperset(_NOTHING.union(*items)):
            return False
        if below[1]:
            for item in items:
                if not _is_known(item, below):
                    return False
    return True


def _unknown(
    value: dict[str, Any], properties: acceptance.Properties, path: str, found: Warnings
) -> None:
    known, holders = properties
    found += _explained(value, known, path)
    for name, shape, below in holders:
        member = value.get(name) or {}
        if shape:
            for key, item in enumerate(member) if shape == "[]" else member.items():
                _unknown(item, below, _path(path, name, key), found)
        else:
            _unknown(member, below, f"{path}.{name}" if path else name, found)


def _path(path: str, name: str, key: Any) -> str:
    from .document import child_path

    return child_path(f"{path}.{name}" if path else name, key)


def _explained(value: dict[str, Any], known: frozenset[str], path: str) -> Warnings:
    from .document import child_path

    found = []
    for name in value:
        if name in known:
            continue
        if not path and name in _OTHER_PLATFORMS:
            message = "is ignored: it is for another platform than Linux"
        else:
            message = "is not known, and ignored"
            meant = _similar(name, known)
            if meant:
                message += f": did you mean {meant}?"
        found.append((child_path(path, name), message))
    return found


def _similar(name: str, known: frozenset[str]) -> str:
    """The known name that this one is a misspelling of: letter case, or up to two letters."""
    folded = name.lower()
    best, limit = "", min(2, len(name) // 3)
    for candidate in sorted(known):
        other = candidate.lower()
        if folded == other or _distance(folded, other) <= limit:
            best = candidate
            limit = _distance(folded, other) - 1
            if limit < 0:
                break
    return best


def _distance(one: str, other: str) -> int:
    """How many letters must be put in, taken out or replaced to turn one into the other (Levenshtein)."""
    before = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        current = [row]
        for column, other_letter in enumerate(other, 1):
            replaced = before[column - 1] + (letter != other_letter)
            current.append(min(before[column] + 1, current[-1] + 1, replaced))
        before = current
    return before[-1]
