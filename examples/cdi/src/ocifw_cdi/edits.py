"""containerEdits as layers over config.json."""

from __future__ import annotations

import os

from ocifw.errors import ConfigError, Problem, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from .registry import Registry

_KINDS = {0o020000: "c", 0o060000: "b", 0o010000: "p"}


def patches(registry: Registry, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The layers for some devices: first what their specifications say for all, each once, then each device's own."""
    found = [registry.find(name) for name in dict.fromkeys(names)]
    common = {file: spec.get("containerEdits") for file, spec, _ in found}
    for file, edits in common.items():
        yield from _patches(file, edits or {})
    for file, _, entry in found:
        yield from _patches(file, entry.get("containerEdits") or {})


def _patches(file: str, edits: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if edits.get("env"):
        yield {"process": {"env": list(edits["env"])}}
    for node in edits.get("deviceNodes") or ():
        yield from _device(file, node)
    for mount in edits.get("mounts") or ():
        yield {
            "mounts": [
                {
                    "destination": mount["containerPath"],
                    "source": mount["hostPath"],
                    "type": mount.get("type") or "bind",
                    "options": mount.get("options") or ["bind", "ro", "nosuid", "nodev"],
                }
            ]
        }
    for hook in edits.get("hooks") or ():
        entry = {name: hook[name] for name in ("path", "args", "env", "timeout") if hook.get(name)}
        yield {"hooks": {f"{hook['hookName']}+": [entry]}}
    if edits.get("additionalGids"):
        yield {"process": {"user": {"additionalGids+": [g for g in edits["additionalGids"] if g]}}}
    if edits.get("intelRdt"):
        rdt = {name: value for name, value in edits["intelRdt"].items() if value}
        yield {"linux": {"intelRdt": rdt}}


def _device(file: str, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A device node and the permission to use it. What the specification leaves out is the host's node's."""
    device = {"path": node["path"], "type": node.get("type")}
    for name in ("major", "minor", "fileMode", "uid", "gid"):
        if node.get(name) is not None:
            device[name] = node[name]
    if not device["type"] or ("major" not in device and device["type"] != "p"):
        host = node.get("hostPath") or node["path"]
        try:
            status = os.stat(host)
        except OSError as error:
            text = f"device {host}: {errno_text(error.errno or 0)}"
            raise ConfigError([Problem("", text, file)]) from None
        kind = _KINDS.get(status.st_mode & 0o170000)
        if kind is None or device["type"] not in (None, kind):
            raise ConfigError([Problem("", f"{host} is no device of type {device['type']}", file)])
        device.update(type=kind, major=os.major(status.st_rdev), minor=os.minor(status.st_rdev))
        device.setdefault("fileMode", status.st_mode & 0o777)
    linux: dict[str, Any] = {"devices": [device]}
    if device["type"] != "p":
        rule = {"allow": True, "access": node.get("permissions") or "rwm"}
        rule |= {name: device[name] for name in ("type", "major", "minor")}
        linux["resources"] = {"devices+": [rule]}
    yield {"linux": linux}
