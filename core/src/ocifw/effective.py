"""A config with everything that was laid over it, and where each value comes from."""

from __future__ import annotations

from .layers import MISSING, Layering, leaves, path_text
from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .layers import Path
    from .policy import Rule

_SHORT = 400
_FIRST = ("config.json", "config.json")


class Origin(Record):
    """Where a value comes from. layer: the profile's name, "--set", "plugin NAME" or "config.json".

    file: the layer's file, with line and column from 1 where they are known, else 0.
    """

    layer: str
    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Change(Record):
    """A value that a layer made different. old and new: MISSING where there was, or is, none."""

    path: str
    old: Any
    new: Any
    origin: Origin

    def __str__(self) -> str:
        if isinstance(self.old, list) and isinstance(self.new, list):
            more = [member for member in self.new if member not in self.old]
            less = [member for member in self.old if member not in self.new]
            parts = [f"adds {_shown(self.path, more)} to {self.path}"] * bool(more)
            parts += [f"takes {_shown(self.path, less)} from {self.path}"] * bool(less)
            if parts:
                return f"{self.origin} {' and '.join(parts)}"
        if self.new is MISSING:
            return f"{self.origin} takes {self.path} away, which was {_shown(self.path, self.old)}"
        before = "" if self.old is MISSING else f" instead of {_shown(self.path, self.old)}"
        return f"{self.origin} sets {self.path} to {_shown(self.path, self.new)}{before}"


class Effective:
    """A config with everything that was laid over it.

    config: the effective config.json. names: the profiles' references, in order; how: what chose them. settings: of
    plugins, by name. disabled: plugins that are switched off, with what did it. policy: the rules. compat: "runc" or
    "spec". changes: what layers made different, in order. layers: pairs of name and file; the first is config.json.
    """

    __slots__ = (
        "_changes",
        "_origins",
        "compat",
        "config",
        "disabled",
        "exec_patches",
        "how",
        "layers",
        "names",
        "rules",
        "settings",
    )

    def __init__(
        self,
        config: dict[str, Any],
        layers: Sequence[tuple[str, str]],
        origins: Mapping[Path, tuple[int, tuple[int, int]]],
        changes: Sequence[Sequence[Any]] = (),
        names: Sequence[str] = (),
        how: str = "",
        settings: dict[str, dict[str, Any]] | None = None,
        disabled: dict[str, str] | None = None,
        rules: Sequence[Sequence[Any]] = (),
        compat: str = "runc",
        exec_patches: Sequence[tuple[int, Any]] = (),
    ) -> None:
        """origins: layer's number and place of the parts of the config that layers have set. changes: path, old, new,
        layer's number and place. rules: the values of the policy's rules.
        """
        self.config = config
        self.layers = tuple(layers)
        self._origins = dict(origins)
        self._changes = tuple(changes)
        self.names = tuple(names)
        self.how = how
        self.settings = settings or {}
        self.disabled = disabled or {}
        self.rules = tuple(rules)
        self.compat = compat
        self.exec_patches = tuple(exec_patches)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What layers made different, in order."""
        return tuple(
            [
                Change(path_text(path), old, new, Origin(*self.layers[layer], *place))
                for path, old, new, layer, place in self._changes
            ]
        )

    @property
    def policy(self) -> tuple[Rule, ...]:
        """The rules, in order."""
        from .policy import rules

        return rules(self.rules)

    def origin_of(self, path: Path) -> Origin:
        """Where a value, or most of what it holds, comes from. Parts that no layer has set are config.json's."""
        while path not in self._origins and path:
            path = path[:-1]
        layer, (line, column) = self._origins.get(path, (0, (0, 0)))
        return Origin(*self.layers[layer], line, column)

    @property
    def origins(self) -> dict[str, Origin]:
        """The origin of every leaf of the config, by its path as text."""
        return {path_text(path): self.origin_of(path) for path, _ in leaves(self.config)}

    def history(self, path: str) -> list[Change]:
        """The changes that touched a path, or what it is part of, in order: what was overridden, and by what."""
        return [
            change
            for change in self.changes
            if change.path == path or path.startswith((f"{change.path}.", f"{change.path}["))
        ]

    def place_of(self, path: str) -> str:
        """The origin of a path as text, when a layer set it; "" for what is config.json's."""
        for own, (layer, place) in self._origins.items():
            text = path_text(own)
            if layer and (path == text or path.startswith((f"{text}.", f"{text}["))):
                return str(Origin(*self.layers[layer], *place))
        return ""

    def log(self) -> None:
        """Log, for --debug, what chose the profiles and everything that they changed."""
        from . import log

        if log.debugging():
            if self.names:
                log.debug(f"profile {', '.join(self.names)}, chosen by {self.how}")
            for change in self.changes:
                log.debug(str(change))

    def document(self) -> dict[str, Any]:
        """What exec, update and explain need later, as JSON for the container's state; large old values shortened."""
        return {
            "names": list(self.names),
            "how": self.how,
            "layers": [list(layer) for layer in self.layers],
            "origins": [[list(path), *origin] for path, origin in self._origins.items()],
            "changes": [
                [list(path), _kept(old), _kept(new), layer, list(place)]
                for path, old, new, layer, place in self._changes
            ],
            "settings": self.settings,
            "disabled": self.disabled,
            "policy": list(self.rules),
            "compat": self.compat,
            "exec": [list(patch) for patch in self.exec_patches],
        }


def stored(state: Mapping[str, Any]) -> Effective | None:
    """What is in effect for a container that was created, from its state; None when it is config.json alone.

    What `update` has changed since is of the layer "update".
    """
    updated = state.get("updated") or []
    if "profile" not in state and not updated:
        return None
    document = state.get("profile") or Effective(state["config"], [_FIRST], {}).document()
    layers = [(name, file) for name, file in document["layers"]]
    origins: dict[Path, Any] = {
        tuple(path): (layer, tuple(place)) for path, layer, place in document["origins"]
    }
    if updated:
        layers.append(("update", "ocifw update"))
        origins.update({tuple(path): (len(layers) - 1, (0, 0)) for path in updated})
    return Effective(
        state["config"],
        layers,
        origins,
        [
            (path, _restored(old), _restored(new), layer, place)
            for path, old, new, layer, place in document["changes"]
        ],
        document["names"],
        document["how"],
        document["settings"],
        document["disabled"],
        document["policy"],
        document["compat"],
        document["exec"],
    )


def note_update(state: dict[str, Any], resources: Mapping[str, Any]) -> None:
    """Note in a container's state which limits `update` has changed."""
    updated = state.setdefault("updated", [])
    for path, _ in leaves(dict(resources), ("linux", "resources")):
        if list(path) not in updated:
            updated.append(list(path))


def tightened(of: Effective, process: dict[str, Any]) -> dict[str, Any]:
    """A whole process of `exec`, as an engine gives it, with what the profiles say of every process.

    These are capabilities, noNewPrivileges, rlimits and labels: the engine does not know what the container has.
    """
    layering = Layering({"process": process})
    for layer, node in of.exec_patches:
        layering.apply(("map", [("process", node)], (0, 0)), layer)
    made: dict[str, Any] = layering.value["process"]
    return made


def _shown(path: str, value: Any) -> str:
    """A value for the log: short, and not of the environment, which may hold secrets."""
    if path.startswith("process.env"):
        return "another value"
    from .document import dump

    text = dump(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _kept(value: Any) -> Any:
    """A value as the state holds it: [] for none, [value], or its beginning when it is large."""
    if value is MISSING:
        return []
    if isinstance(value, dict) and "syscalls" in value:
        return [f"a filter of {len(value['syscalls'])} rules"]
    from .document import dump

    text = dump(value)
    return [value] if len(text) <= _SHORT else [f"{text[:_SHORT]}…"]


def _restored(kept: Any) -> Any:
    return kept[0] if kept else MISSING
