"""Compiling patches: from what a profile says under `config` to the nodes that `layers.Layering` applies."""

from __future__ import annotations

from .errors import Problem
from .layers import (
    CAPABILITIES,
    KEYED,
    MAPS,
    OPERATORS,
    SECCOMP,
    SETS,
    Layering,
    key_of,
    path_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .layers import Node, Path, Place

    Places = Mapping[Path, Place]
    Base = Callable[[str, Place], Any]

_NO_PLACE = (0, 0)


class Compiler:
    """Makes nodes of a patch. problems: pairs of place and Problem, what is wrong with it.

    places: line and column of each key and list member, by path in the patch as written. base: reads the seccomp
    profile that `base` names. plain: the patch is a config.json, which has no operators and no algebra.
    """

    def __init__(
        self, places: Places | None = None, base: Base | None = None, plain: bool = False
    ) -> None:
        self.places = places or {}
        self.base = base
        self.plain = plain
        self.problems: list[tuple[Place, Problem]] = []

    def node(self, patch: Any, written: Path = (), path: Path = ()) -> Node:
        """The node of a value. written: its path in the document, to find places; path: the config's, without operators."""
        place = self._place(written)
        if patch is None:
            return ("null", place)
        if path == CAPABILITIES and isinstance(patch, dict) and not self.plain:
            return self._capabilities(patch, written, place)
        if path == SECCOMP and isinstance(patch, dict) and not self.plain:
            return self._seccomp(patch, written, place)
        if isinstance(patch, dict):
            return self._map(patch, written, path, place)
        if isinstance(patch, list):
            if path in KEYED:
                return self._keyed(patch, written, path, place)
            members = [(value, self._place((*written, i))) for i, value in enumerate(patch)]
            return ("list", members, place)
        return ("set", patch, place)

    def _place(self, written: Path) -> Place:
        return self.places.get(written, _NO_PLACE)

    def _problem(self, written: Path, message: str) -> None:
        self.problems.append((self._place(written), Problem(path_text(written), message)))

    def _map(self, patch: dict[str, Any], written: Path, path: Path, place: Place) -> Node:
        plain: list[tuple[str, Node]] = []
        edited: dict[str, list[Any]] = {}
        is_map = self.plain or (bool(path) and path[-1] in MAPS)
        for key, value in patch.items():
            below = (*written, key)
            operator = "" if is_map or key[-1:] not in OPERATORS else key[-1:]
            name = key[: len(key) - len(operator)]
            own = (*path, name)
            if not operator:
                plain.append((name, self.node(value, below, own)))
            elif operator == "?":
                child = self.node(value, below, own)
                plain.append((name, ("default", child, self._place(below))))
            elif operator == "<":
                if type(value) is not int:
                    self._problem(below, f"is a limit and must be an integer, not {_shown(value)}")
                    continue
                # In cgroups 0 and -1 stand for no limit; for rlimits, 0 is a limit like any other.
                unlimited = own[:2] == ("linux", "resources")
                plain.append((name, ("most", value, unlimited, self._place(below))))
            elif not isinstance(value, list):
                verb = "appends" if operator == "+" else "removes"
                self._problem(below, f"{verb} members, and must be a list, not {_shown(value)}")
            else:
                members = [(v, self._place((*below, i))) for i, v in enumerate(value)]
                edit = edited.setdefault(
                    name, ["edit", KEYED.get(own), own in SETS, [], [], self._place(below)]
                )
                if operator == "-":
                    edit[3] = [member for member, _ in members]
                else:
                    edit[4] = members
        return ("map", [*plain, *[(name, tuple(edit)) for name, edit in edited.items()]], place)

    def _keyed(self, patch: list[Any], written: Path, path: Path, place: Place) -> Node:
        field = KEYED[path]
        members = []
        for index, member in enumerate(patch):
            below = (*written, index)
            if not field:
                if not isinstance(member, str) or "=" not in member:
                    self._problem(below, "must be NAME=VALUE")
                    continue
                node: Node = ("set", member, self._place(below))
                members.append((key_of(member, ""), node, self._place(below)))
            elif not isinstance(member, dict) or not isinstance(member.get(field), str):
                self._problem(below, f"must be a mapping with {field}, by which it is merged")
            else:
                rest = {key: value for key, value in member.items() if key != field}
                node = self._map(rest, below, (*path, 0), self._place(below))
                members.append((member[field], node, self._place(below)))
        return ("keyed", field, members, place)

    def _capabilities(self, patch: dict[str, Any], written: Path, place: Place) -> Node:
        algebra: dict[str, list[tuple[str, Place]] | None] = {"keep": None, "drop": [], "add": []}
        for name in algebra:
            if name not in patch:
                continue
            value = patch[name]
            if not isinstance(value, list) or not all(isinstance(c, str) for c in value):
                self._problem((*written, name), "must be a list of capabilities")
                continue
            algebra[name] = [(c, self._place((*written, name, i))) for i, c in enumerate(value)]
        sets = {key: value for key, value in patch.items() if key not in algebra}
        own = self._map(sets, written, CAPABILITIES, place) if sets else None
        if len(sets) == len(patch):
            return own or ("map", [], place)
        return ("capabilities", own, algebra["keep"], algebra["drop"], algebra["add"], place)

    def _seccomp(self, patch: dict[str, Any], written: Path, place: Place) -> Node:
        algebra = [key for key in patch if key in ("base", "deny", "allow")]
        if not algebra:
            return ("seccomp", "raw", patch, place)
        for key in patch:
            if key not in algebra:
                self._problem((*written, key), "cannot stand beside base, deny and allow")
        bases = None
        if "base" in patch:
            given = patch["base"] if isinstance(patch["base"], list) else [patch["base"]]
            bases = []
            for name in given:
                if not isinstance(name, str):
                    self._problem(
                        (*written, "base"), f"must be a name or a path, not {_shown(name)}"
                    )
                    continue
                where = self._place((*written, "base"))
                found = "keep" if name == "keep" or self.base is None else self.base(name, where)
                bases.append((name, found))
        deltas = []
        for key in ("deny", "allow"):
            entries = patch.get(key, [])
            if not isinstance(entries, list):
                self._problem((*written, key), "must be a list of system calls")
                continue
            for index, entry in enumerate(entries):
                below = (*written, key, index)
                if isinstance(entry, str):
                    entry = {"names": [entry]}
                names = entry.get("names") if isinstance(entry, dict) else None
                if (
                    not isinstance(names, list)
                    or not all(isinstance(name, str) and name for name in names)
                    or not set(entry) <= ({"names", "args"} if key == "allow" else {"names"})
                ):
                    self._problem(below, "must be the name of a system call, or {names: […]}")
                    continue
                deltas.append((key, names, entry.get("args"), self._place(below)))
        return ("seccomp", "delta", (bases, deltas), place)


def exec_nodes(node: Node) -> list[Node]:
    """What a patch says about every process, in the form of a patch of `process`: also of those that `exec` adds."""
    if node[0] != "map":
        return []
    for name, child in node[1]:
        if name == "process" and child[0] == "map":
            kept = [pair for pair in child[1] if pair[0] in EXEC_FIELDS]
            return [("map", kept, child[2])] if kept else []
    return []


EXEC_FIELDS = frozenset(
    {"capabilities", "noNewPrivileges", "rlimits", "apparmorProfile", "selinuxLabel"}
)
"""Fields of `process` in which a profile counts for processes of `exec`, too."""


def merged(config: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """One mapping over another by the rules above; of seccomp only the spec's form.

    Merging is associative on patches in which nothing is null, no key has an operator, and what is a mapping in one is
    none or a mapping in the others.
    """
    layering = Layering(config)
    layering.apply(Compiler().node(patch), 1)
    value: dict[str, Any] = layering.value
    return value


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)
