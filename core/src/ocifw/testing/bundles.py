"""Configs and bundles of every kind that a plugin may meet."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from ocifw.commands import spec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    Config = dict[str, Any]


def config_of(kind: str, **changes: Any) -> Config:
    """A fresh config.json of one of KINDS. changes: fields of it at the top, merged where they are mappings."""
    config = copy.deepcopy(KINDS[kind]())
    for name, value in changes.items():
        old = config.get(name)
        config[name] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return config


def write_bundle(folder: Path, config: Config, source: str = "host") -> Path:
    """Make a bundle whose container can run: config.json, and a root filesystem from `host` or `busybox`."""
    import json

    from ocifw.bundle import make_bundle

    make_bundle(str(folder), source)
    path = folder / "config.json"
    made = json.loads(path.read_text())
    # The mounts that make the root filesystem what it is.
    known = {mount["destination"] for mount in config.get("mounts") or ()}
    mounts = [mount for mount in made["mounts"] if mount["destination"] not in known]
    config = {**config, "root": made["root"], "mounts": [*(config.get("mounts") or ()), *mounts]}
    path.write_text(json.dumps(config))
    return folder


def _plain() -> Config:
    config = spec.default()
    config["process"]["terminal"] = False
    return config


def _terminal() -> Config:
    config = _plain()
    config["process"].update(terminal=True, consoleSize={"height": 24, "width": 80})
    return config


def _rootless() -> Config:
    return spec.rootless(_plain())


def _minimal() -> Config:
    """Nothing but what the spec requires."""
    return {
        "ociVersion": "1.3.0",
        "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
    }


def _host_namespaces() -> Config:
    config = _plain()
    config["linux"]["namespaces"] = [{"type": "mount"}]
    config.pop("hostname", None)
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "mqueue"]
    return config


def _hooks() -> Config:
    config = _plain()
    entry = {"path": "/bin/true"}
    kinds = ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    config["hooks"] = {kind: [entry] for kind in kinds}
    return config


def _limits() -> Config:
    config = _plain()
    config["linux"]["resources"].update(
        memory={"limit": 64 << 20}, pids={"limit": 64}, cpu={"shares": 512}
    )
    return config


def _user() -> Config:
    config = _plain()
    config["process"].update(user={"uid": 1000, "gid": 1000, "additionalGids": [100]}, cwd="/tmp")
    return config


KINDS: dict[str, Callable[[], Config]] = {
    "plain": _plain,
    "minimal": _minimal,
    "terminal": _terminal,
    "rootless": _rootless,
    "host-namespaces": _host_namespaces,
    "hooks": _hooks,
    "limits": _limits,
    "user": _user,
}
"""Kinds of config, by name."""
