"""Layers over config.json: what a profile says as a patch, and applying it, with the origin of every value.

The rules, for a mapping in a patch that lies over a mapping of the config:

* `key: {…}` merges, `key: value` replaces, `key: null` removes (RFC 7386).
* Lists with a natural key merge by it: mounts by destination, env by name, namespaces and rlimits by type, devices by
  path. Members that are there are changed, others appended. All other lists are values: they replace.
* `key+: […]` appends; lists that are sets (masked paths, capabilities) get only what they do not have. `key-: […]`
  removes members; those of a list with a natural key may be named by it. Of one mapping, `key` is done first, then
  `key-`, then `key+`.
* `key?: value` counts only where nothing is set. `key<: number` is a limit: what is above it, or unlimited, becomes it.
* `process.capabilities` takes `keep`, `drop` and `add`, done in this order on all five sets; `drop: [ALL]` empties
  them, `add` leaves the inheritable and ambient sets alone.
* `linux.seccomp` takes `base`, `deny` and `allow`: see `seccomp_form`. Without these it is the spec's own form, which
  replaces what was.

A patch is compiled (`patches.py`) into nodes, nested tuples that `marshal` and JSON can hold; applying them imports nothing.
"""

from __future__ import annotations

from .document import child_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    Path = tuple[str | int, ...]
    Place = tuple[int, int]
    Node = Sequence[Any]

KEYED: dict[Path, str] = {
    ("mounts",): "destination",
    ("process", "env"): "",
    ("process", "rlimits"): "type",
    ("linux", "namespaces"): "type",
    ("linux", "devices"): "path",
}
"""Lists with a natural key, and the field that holds it; "" is the text before `=`."""

SETS = frozenset(
    {
        ("linux", "maskedPaths"),
        ("linux", "readonlyPaths"),
        ("process", "user", "additionalGids"),
        *[("process", "capabilities", name) for name in
          ("bounding", "effective", "permitted", "inheritable", "ambient")],
    }
)  # fmt: skip
"""Lists in which a member counts once."""

MAPS = frozenset({"annotations", "netDevices", "rdma", "sysctl", "unified"})
"""Objects whose keys are names of the user's: there, `+` and `-` at the end of a key are part of it."""

CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
CAPABILITIES = ("process", "capabilities")
SECCOMP = ("linux", "seccomp")
OPERATORS = "+-?<"


class Missing:
    """What is not set; the only instance is MISSING."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


# ---- applying ----------------------------------------------------------------------------------------------------


class Layering:
    """A config on which patches are laid, one after the other.

    value: the config as it is now; what it began with is not changed. changes: (path, old, new, layer, place) of
    everything that became different, in order. layer: number of the layer that is being applied. seccomp: what was
    asked of linux.seccomp, as (layer, form, content, place), to be resolved when the capabilities are known.
    """

    def __init__(self, value: dict[str, Any]) -> None:
        self.value: Any = value
        self.origin: Any = None
        self.layer = 0
        self.changes: list[tuple[Path, Any, Any, int, Place]] = []
        self.seccomp: list[tuple[int, str, Any, Place]] = []

    def apply(self, node: Node, layer: int) -> None:
        """Lay a compiled patch over the config."""
        self.layer = layer
        self.value, self.origin = self._apply(node, self.value, self.origin, ())

    def replace(self, path: Path, new: Any, layer: int, place: Place) -> None:
        """Set, or with MISSING remove, one value, whose origin is the layer's."""
        self.layer = layer
        node: Node = ("whole", new, place)
        for name in reversed(path):
            node = ("map", [(name, node)], place)
        self.value, self.origin = self._apply(node, self.value, self.origin, ())

    def origins(self) -> Iterator[tuple[Path, tuple[int, Place]]]:
        """Pairs of path, and layer and place, of what layers have set. What is set as a whole is not taken apart."""
        return _marks(self.origin, ())

    def _apply(self, node: Node, old: Any, origin: Any, path: Path) -> tuple[Any, Any]:
        kind = node[0]
        if kind == "map":
            return self._merge(node, old, origin, path)
        if kind in ("set", "whole"):
            return self._set(old, node[1], node[2], path)
        if kind == "list":
            value = [member for member, _ in node[1]]
            parts = [(self.layer, place) for _, place in node[1]]
            self._changed(path, old, value, node[2])
            return value, parts or (self.layer, node[2])
        if kind == "keyed":
            return self._merge_keyed(node, old, origin, path)
        if kind == "edit":
            return self._edit(node, old, origin, path)
        if kind == "null":
            if path == SECCOMP[: len(path)]:
                self.seccomp.clear()
            self._changed(path, old, MISSING, node[1])
            return MISSING, None
        if kind == "default":
            if old is MISSING or old is None:
                return self._apply(node[1], MISSING, None, path)
            return old, origin
        if kind == "most":
            _, limit, unlimited, place = node
            if type(old) is int and old <= limit and not (unlimited and old <= 0):
                return old, origin
            return self._set(old, limit, place, path)
        if kind == "capabilities":
            return self._capabilities(node, old, origin, path)
        # seccomp
        if node[1] == "raw":
            self.seccomp.clear()
            return self._set(old, node[2], node[3], path)
        self.seccomp.append((self.layer, node[1], node[2], node[3]))
        return old, origin

    def _set(self, old: Any, new: Any, place: Place, path: Path) -> tuple[Any, Any]:
        self._changed(path, old, new, place)
        return new, (self.layer, place)

    def _changed(self, path: Path, old: Any, new: Any, place: Place) -> None:
        if type(old) is not type(new) or old != new:
            self.changes.append((path, old, new, self.layer, place))

    def _merge(self, node: Node, old: Any, origin: Any, path: Path) -> tuple[Any, Any]:
        if type(old) is dict:
            value = dict(old)
        else:
            value = {}
            if old is not MISSING or not node[1]:
                self._changed(path, old, value, node[2])
            if not node[1]:
                return value, (self.layer, node[2])
        parts = _spread(origin, old)
        for name, child in node[1]:
            made, part = self._apply(
                child, value.get(name, MISSING), parts.get(name), (*path, name)
            )
            if made is MISSING:
                value.pop(name, None)
                parts.pop(name, None)
            else:
                value[name] = made
                parts[name] = part
        if not value:
            # What is left has no leaves; it is of the layer that took them.
            if type(old) is dict:
                return value, (self.layer, node[2]) if old else origin
            return MISSING, None
        return value, parts

    def _merge_keyed(self, node: Node, old: Any, origin: Any, path: Path) -> tuple[Any, Any]:
        field = node[1]
        value = list(old) if type(old) is list else []
        parts = _spread_list(origin, value)
        if not node[2]:
            if type(old) is list:
                return old, origin
            self._changed(path, old, value, node[3])
            return value, (self.layer, node[3])
        positions = {key_of(member, field): index for index, member in enumerate(value)}
        for key, child, place in node[2]:
            index = positions.get(_normal(key))
            if index is None:
                made, part = self._apply(child, MISSING, None, (*path, len(value)))
                if made is MISSING:
                    # It only removes, and there is nothing to remove from.
                    continue
                if field:
                    made = {field: key, **made}
                    part = {field: (self.layer, place), **(part if type(part) is dict else {})}
                positions[_normal(key)] = len(value)
                value.append(made)
                parts.append(part)
                if field:
                    self._changed((*path, len(value) - 1, field), MISSING, key, place)
            else:
                value[index], parts[index] = self._apply(
                    child, value[index], parts[index], (*path, index)
                )
        if not value and type(old) is not list:
            return MISSING, None
        return value, parts

    def _edit(self, node: Node, old: Any, origin: Any, path: Path) -> tuple[Any, Any]:
        _, field, unique, removed, appended, place = node
        value = list(old) if type(old) is list else []
        parts = _spread_list(origin, value)
        if removed:
            kept = [i for i, member in enumerate(value) if not _is_among(member, removed, field)]
            value, parts = [value[i] for i in kept], [parts[i] for i in kept]
        for member, where in appended:
            if not (unique and member in value):
                value.append(member)
                parts.append((self.layer, where))
        if value == old or (not value and type(old) is not list):
            return old, origin
        self._changed(path, old, value, place)
        return value, parts or (self.layer, place)

    def _capabilities(self, node: Node, old: Any, origin: Any, path: Path) -> tuple[Any, Any]:
        _, own, keep, drop, add, place = node
        if own is not None:
            old, origin = self._apply(own, old, origin, path)
        if type(old) is not dict and not add:
            return old, origin
        value = dict(old) if type(old) is dict else {}
        parts = _spread(origin, old)
        kept = None if keep is None else {name for name, _ in keep}
        dropped = {name for name, _ in drop}
        for name in CAPABILITY_SETS:
            added = add if name in CAPABILITY_SETS[:3] else ()
            before = value.get(name)
            if before is None and not added:
                continue
            own_parts = _spread_list(parts.get(name), before or [])
            stays = [
                i
                for i, capability in enumerate(before or [])
                if (kept is None or capability in kept)
                and capability not in dropped
                and "ALL" not in dropped
            ]
            members = [(before or [])[i] for i in stays]
            own_parts = [own_parts[i] for i in stays]
            for capability, where in added:
                if capability not in members:
                    members.append(capability)
                    own_parts.append((self.layer, where))
            if members != before:
                self._changed((*path, name), MISSING if before is None else before, members, place)
                value[name] = members
                parts[name] = own_parts or (self.layer, place)
        return value, parts if value else origin


def _spread(origin: Any, old: Any) -> dict[str, Any]:
    """The origins of a mapping's members; an origin of the whole is that of each."""
    if type(origin) is dict:
        return dict(origin)
    if origin is None or type(old) is not dict:
        return {}
    return dict.fromkeys(old, origin)


def _spread_list(origin: Any, value: list[Any]) -> list[Any]:
    return list(origin) if type(origin) is list else [origin] * len(value)


def _marks(origin: Any, path: Path) -> Iterator[tuple[Path, tuple[int, Place]]]:
    if type(origin) is tuple:
        yield path, origin
    elif type(origin) is dict:
        for name, part in origin.items():
            if part is not None:
                yield from _marks(part, (*path, name))
    elif type(origin) is list:
        for index, part in enumerate(origin):
            if part is not None:
                yield from _marks(part, (*path, index))


def key_of(member: Any, field: str) -> str:
    """The natural key of a list member, normal."""
    if not field:
        return str(member).partition("=")[0]
    return _normal(str(member.get(field)) if type(member) is dict else "")


def _normal(key: str) -> str:
    """A key in the form in which keys are compared: `/tmp/` is `/tmp`."""
    return key.rstrip("/") or key if key[:1] == "/" else key


def _is_among(member: Any, removed: Sequence[Any], field: str | None) -> bool:
    if member in removed:
        return True
    if field is None:
        return False
    key = key_of(member, field)
    return any(
        key == (_normal(one) if isinstance(one, str) else key_of(one, field) if field else "")
        for one in removed
    )


# ---- paths -------------------------------------------------------------------------------------------------------


def path_text(path: Path) -> str:
    """A path as it is written: `linux.devices[3].path`, `linux.maskedPaths+`."""
    text = ""
    for part in path:
        if isinstance(part, str) and part[-1:] in OPERATORS and part[:-1].isidentifier():
            text = child_path(text, part[:-1]) + part[-1]
        else:
            text = child_path(text, part)
    return text


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Pairs of path and value of everything without members: scalars, empty mappings and empty lists."""
    if value and isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif value and isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            yield from leaves(member, (*path, index))
    else:
        yield path, value
