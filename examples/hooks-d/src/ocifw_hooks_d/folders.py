"""Reading hooks.d folders and deciding which hooks a container gets: oci-hooks(5), version 1.0.0."""

from __future__ import annotations

import os

from ocifw import document
from ocifw.errors import OcifwError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ocifw.context import Host

FOLDERS = ("/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d")
STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_FIELDS = ("path", "args", "env", "timeout")


def patches(folders: Sequence[str], config: dict[str, Any], host: Host) -> Iterator[dict[str, Any]]:
    """A layer for each hook that is meant for this container, in order of the files' names.

    A file counts instead of one of the same name in an earlier folder. `precreate` is the engine's stage: a warning.
    Raises Untrusted for a file that not only root could have written; OcifwError for one that says something wrong.
    """
    files = {}
    for folder in folders:
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        files.update({name: f"{folder}/{name}" for name in names if name.endswith(".json")})
    for name in sorted(files):
        path = files[name]
        entry = _read(path)
        if not _applies(entry.get("when") or {}, config, path):
            continue
        hook = {field: entry["hook"][field] for field in _FIELDS if entry["hook"].get(field)}
        for stage in entry["stages"]:
            if stage in STAGES:
                yield {"hooks": {f"{stage}+": [hook]}}
            else:
                host.warn(f"{path}: stage {stage} is not the runtime's: the hook is left out there")


def _read(path: str) -> dict[str, Any]:
    from ocifw.trust import read

    entry = document.parse(read(path), path)
    if not isinstance(entry, dict) or entry.get("version") != "1.0.0":
        raise OcifwError(f"{path}: expected version 1.0.0 of oci-hooks(5)")
    hook = entry.get("hook")
    if not isinstance(hook, dict) or not str(hook.get("path") or "").startswith("/"):
        raise OcifwError(f"{path}: hook.path must be an absolute path")
    if not isinstance(entry.get("stages"), list) or not entry["stages"]:
        raise OcifwError(f"{path}: stages must be a list that is not empty")
    return entry


def _applies(when: dict[str, Any], config: dict[str, Any], path: str) -> bool:
    """Whether all conditions that are there hold, and there is one."""
    conditions = []
    if "always" in when:
        conditions.append(when["always"] is True)
    if when.get("hasBindMounts"):
        conditions.append(any(_is_bind(mount) for mount in config.get("mounts") or ()))
    annotations = config.get("annotations") or {}
    for key, value in (when.get("annotations") or {}).items():
        found = [_search(key, k, path) and _search(value, v, path) for k, v in annotations.items()]
        conditions.append(any(found))
    if when.get("commands"):
        command = ((config.get("process") or {}).get("args") or [""])[0]
        conditions.append(any(_search(pattern, command, path) for pattern in when["commands"]))
    return bool(conditions) and all(conditions)


def _is_bind(mount: dict[str, Any]) -> bool:
    options = mount.get("options") or ()
    return mount.get("type") == "bind" or "bind" in options or "rbind" in options


def _search(pattern: str, text: str, path: str) -> bool:
    # Here, since it costs 5 ms, and most hooks are for all containers.
    import re

    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise OcifwError(f"{path}: {pattern!r} is no regular expression: {error}") from None
