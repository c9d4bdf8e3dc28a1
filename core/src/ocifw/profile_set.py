"""--set: one value over config.json, as a patch."""

from __future__ import annotations

from .errors import ConfigError, OcifwError, Problem
from .layers import KEYED, MAPS, MISSING, Layering, path_text
from .patches import Compiler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from .layers import Path


def set_node(text: str) -> Any:
    """The patch of one --set. Raises ConfigError for what is none, or names an unknown property."""
    origin = f"--set {text}"
    patch = parse_set(text)
    compiler = Compiler()
    node = compiler.node(patch)
    refuse([problem for _, problem in compiler.problems], origin)
    trial = Layering({})
    trial.apply(node, 0)
    if trial.value is not MISSING:
        refuse(unknown_keys(trial.value), origin)
    return node


def unknown_keys(value: dict[str, Any]) -> Iterator[Problem]:
    """The properties of a part of a config that config.json does not know."""
    from . import acceptance, validate

    found: list[tuple[str, str]] = []
    known = acceptance.PROPERTIES["config"]
    validate._unknown(_shaped(value, known), known, "", found)
    for path, message in found:
        yield Problem(path, message.replace(" is not known, and ignored", "is not known").replace(
            "is not known, and ignored", "is not known"))  # fmt: skip


def _shaped(value: dict[str, Any], properties: Any) -> dict[str, Any]:
    """A part of a config without what is of another type than it should be, which is told elsewhere."""
    made = dict(value)
    for name, shape, below in properties[1]:
        member = made.pop(name, None)
        if not shape and isinstance(member, dict):
            made[name] = _shaped(member, below)
        elif shape == "[]" and isinstance(member, list):
            made[name] = [_shaped(one, below) if isinstance(one, dict) else {} for one in member]
        elif shape and shape != "[]" and isinstance(member, dict):
            own = member.items()
            made[name] = {key: _shaped(one, below) for key, one in own if isinstance(one, dict)}
    return made


def parse_set(text: str) -> dict[str, Any]:
    """`linux.resources.pids.limit=100` as a patch. The value is JSON, or else a text; `+=` and `-=` edit lists.

    A key in brackets names a member: `process.env[TZ]=UTC`, `linux.namespaces[user].path=/x`, `annotations[a.b]=c`.
    """
    path, value = _split_set(text)
    words = _words(path, text)
    operator = words[-1][0][-1:]
    if operator in ("+", "-") and words[-1][1] is None and not isinstance(value, list):
        value = [value]
    return _nested(words, value, (), text)


def _split_set(text: str) -> tuple[str, Any]:
    """The path, up to the first `=` that is not in brackets, and the value."""
    end, depth = 0, 0
    while end < len(text) and (text[end] != "=" or depth):
        depth += (text[end] == "[") - (text[end] == "]")
        end += 1
    if not 0 < end < len(text):
        raise OcifwError(f"--set {text}: expected PATH=VALUE")
    given = text[end + 1 :]
    from .document import parse

    try:
        return text[:end], parse(given.encode(), "--set")
    except ConfigError:
        return text[:end], given


def _words(path: str, text: str) -> list[tuple[str, str | None]]:
    words: list[tuple[str, str | None]] = []
    rest = path
    while rest:
        end = next((i for i, letter in enumerate(rest) if letter in ".["), len(rest))
        name, rest = rest[:end], rest[end:]
        key = None
        if rest[:1] == "[":
            key, closed, rest = rest[1:].partition("]")
            if not closed or not key:
                raise OcifwError(f"--set {text}: expected a key in brackets")
        if not name or (rest and rest[0] != "."):
            raise OcifwError(f"--set {text}: {path} is not a path")
        words.append((name, key))
        if rest == ".":
            raise OcifwError(f"--set {text}: {path} is not a path")
        rest = rest[1:]
    return words


def _nested(
    words: Sequence[tuple[str, str | None]], value: Any, path: Path, text: str
) -> dict[str, Any]:
    (name, key), rest = words[0], words[1:]
    own = (*path, name)
    if key is None:
        return {name: _nested(rest, value, own, text) if rest else value}
    if name in MAPS:
        return {name: {key: _nested(rest, value, (*own, key), text) if rest else value}}
    field = KEYED.get(own)
    if field is None:
        raise OcifwError(f"--set {text}: members of {path_text(own)} have no key")
    if not field:
        if value is None:
            return {f"{name}-": [key]}
        return {name: [f"{key}={value}"]}
    if not rest:
        if value is None:
            return {f"{name}-": [key]}
        if not isinstance(value, dict):
            raise OcifwError(f"--set {text}: {path_text(own)}[{key}] is an object")
        return {name: [{**value, field: key}]}
    return {name: [{**_nested(rest, value, (*own, 0), text), field: key}]}


def refuse(problems: Iterable[Problem], origin: str) -> None:
    found = [Problem(p.path, p.message, origin) for p in problems]
    if found:
        raise ConfigError(found)
