"""What the fields of config.json mean, from the schemas, and paths that name them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

from .errors import OcifwError
from .layers import KEYED, key_of, path_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .layers import Path

_SCHEMAS = File(__file__).parent / "schema"


@cache
def _schema(kind: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((_SCHEMAS / f"{kind}.schema.json").read_text())
    return schema


def documentation(path: Path) -> str:
    """What a field means; of members of lists and maps, what the list or map means. "" for what is not known."""
    text = ""
    for node in _nodes(path):
        text = node.get("description", text)
    return text


def fields() -> Iterator[tuple[str, str]]:
    """Every field of config.json, by its path, `mounts[].type`, with what it means."""
    yield from _fields(_schema("config"), "config", "")


def parse(text: str, config: Any) -> Path:
    """A path that was typed, with positions: `mounts[/tmp].options` names a mount by its destination.

    Members of lists are named by position or natural key; of maps by key. Raises OcifwError, with what may have been
    meant, for what config.json has no place for.
    """
    path: Path = ()
    value = config
    for name, is_key in _words(text):
        part: str | int = name
        if isinstance(value, list) or (is_key and _is_list(path)):
            part = _position(name, value if isinstance(value, list) else [], path, text)
        path = (*path, part)
        value = _member(value, part)
        try:
            list(_nodes(path))
        except LookupError as error:
            raise OcifwError(f"{text}: {error.args[0]}") from None
    return path


def close_to(name: str, known: list[str]) -> str:
    """`: did you mean X?`, or nothing."""
    from difflib import get_close_matches

    folded = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), list(folded), 1, 0.6)
    return f": did you mean {folded[close[0]]}?" if close else ""


# ---- paths -------------------------------------------------------------------------------------------------------


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Names, and keys in brackets, of a path."""
    rest = text
    while rest:
        if rest[0] == "[":
            if rest.startswith('["'):
                end = rest.find('"]')
                key, after = rest[2:end], rest[end + 2 :]
            else:
                end = rest.find("]")
                key, after = rest[1:end], rest[end + 1 :]
            if end < 0:
                raise OcifwError(f"{text}: a bracket is not closed")
            yield key, True
            rest = after
        else:
            rest = rest.removeprefix(".")
            end = next((i for i, letter in enumerate(rest) if letter in ".["), len(rest))
            if not end:
                raise OcifwError(f"{text!r} is not a path, as linux.resources.pids.limit")
            yield rest[:end], False
            rest = rest[end:]


def _is_list(path: Path) -> bool:
    return any(node.get("type") == "array" for node in list(_nodes(path))[-1:])


def _position(key: str, members: list[Any], path: Path, text: str) -> int:
    if key.isdecimal():
        return int(key)
    shape = tuple([part for part in path if isinstance(part, str)])
    field = KEYED.get(shape)
    wanted = key.rstrip("/") or key
    for index, member in enumerate(members):
        if (field is not None and key_of(member, field) == wanted) or member == key:
            return index
    keys = [key_of(m, field) if field is not None else str(m) for m in members]
    raise OcifwError(f"{text}: {path_text(path)} has no {key}{close_to(key, keys)}")


def _member(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (LookupError, TypeError):
        return None


# ---- schemas -----------------------------------------------------------------------------------------------------


def _nodes(path: Path) -> Iterator[dict[str, Any]]:
    """The schema of each field along a path. Raises LookupError for what is not known."""
    node, kind = _schema("config"), "config"
    for depth, part in enumerate(path):
        found, kind = _below(*_followed(node, kind), part)
        if found is None:
            whole, _ = _followed(node, kind)
            known = list(whole.get("properties") or ())
            where = f" in {path_text(path[:depth])}" if depth else ""
            raise LookupError(f"{part} is not known{where}{close_to(str(part), known)}")
        followed, inside = _followed(found, kind)
        yield {**followed, **found} if "description" in found else followed
        node, kind = followed, inside


def _below(node: dict[str, Any], kind: str, part: str | int) -> tuple[dict[str, Any] | None, str]:
    if isinstance(part, int):
        return node.get("items"), kind
    properties = node.get("properties") or {}
    if part in properties:
        return properties[part], kind
    return node.get("additionalProperties"), kind


def _followed(node: dict[str, Any], kind: str) -> tuple[dict[str, Any], str]:
    """A schema with its references followed, and the file it is in."""
    while "$ref" in node:
        where, _, pointer = node["$ref"].partition("#")
        kind = where.removeprefix("urn:ocifw:") or kind
        node = _schema(kind)
        for name in pointer.split("/")[1:]:
            node = node[name]
    return node, kind


def _fields(node: dict[str, Any], kind: str, path: str) -> Iterator[tuple[str, str]]:
    node, kind = _followed(node, kind)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _fields(node["additionalProperties"], kind, f"{path}[NAME]")
    if "items" in node:
        yield from _fields(node["items"], kind, f"{path}[]")
    for name, below in (node.get("properties") or {}).items():
        own = f"{path}.{name}" if path else name
        yield own, below.get("description", "")
        yield from _fields(below, kind, own)
