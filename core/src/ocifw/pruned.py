"""A config without what is wrong with it, so that the rest can be checked, too. Only `validate` wants that."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from . import validate
from .errors import ConfigError
from .layers import leaves, path_text

if TYPE_CHECKING:
    from typing import Any

    from .layers import Path

_ROUNDS = 20
_STAND_INS: dict[str, Any] = {
    "ociVersion": "1.0.0",
    "process.args": ["/"],
    "process.cwd": "/",
    "root.path": "rootfs",
}
"""What must be there, without which nothing that is beside it could be checked."""


def pruned(document: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """A valid config that lacks parts of a broken one, and the paths of these parts; None when nothing valid is left.

    What goes is the member of an object that a problem is in, lists as a whole, so that positions stay what they are; in
    place of what must be there comes something that is right.
    """
    config = deepcopy(document)
    gone: list[str] = []
    for _ in range(_ROUNDS):
        try:
            validate.check(config, "config", "")
        except ConfigError as error:
            for problem in error.problems:
                taken = _take(config, problem.path)
                if taken:
                    gone.append(taken)
                elif not overlaps(problem.path, gone):
                    return None, gone
        else:
            return config, gone
    return None, gone


def overlaps(path: str, gone: list[str]) -> bool:
    """Whether a path is of a part that is gone, or holds one."""
    return any(_covers(one, path) or _covers(path, one) for one in gone)


def _covers(one: str, other: str) -> bool:
    return one == other or other.startswith((f"{one}.", f"{one}["))


def _take(config: Any, text: str) -> str:
    """Take away what a problem's path is in, or, of what is missing, its holder. Returns the path; "": there is nothing."""
    if not isinstance(config, dict):
        return ""
    for path, value in _STAND_INS.items():
        if _covers(path, text):
            *above, name = path.split(".")
            holder = config.get(above[0]) if above else config
            if isinstance(holder, dict) and holder.get(name) != value:
                holder[name] = value
                return path
    inside = [path for path in _paths(config) if _covers(path_text(path), text)]
    found = max(inside, key=len, default=())
    positions = [depth for depth, part in enumerate(found) if isinstance(part, int)]
    found = found[: positions[0]] if positions else found
    if not found:
        return ""
    for part in found[:-1]:
        config = config[part]
    del config[found[-1]]
    return path_text(found)


def _paths(config: dict[str, Any]) -> set[Path]:
    """The path of every part."""
    return {path[:length] for path, _ in leaves(config) for length in range(1, len(path) + 1)}
