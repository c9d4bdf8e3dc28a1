"""The fields of config.json that plugins own, and which of them a config sets.

A plugin names the fields it turns into steps: `owns = ("linux.seccomp",)`. A field is as coarse as its owner can be.
`ociVersion`, `process.args`, `process.env` and `annotations` are the core's own and not asked about.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TOP = ("root", "mounts", "hostname", "domainname")
_PROCESS = (
    "terminal",
    "rlimits",
    "noNewPrivileges",
    "apparmorProfile",
    "selinuxLabel",
    "scheduler",
    "ioPriority",
    "execCPUAffinity",
)
_LINUX = (
    "namespaces",
    "uidMappings",
    "gidMappings",
    "timeOffsets",
    "devices",
    "netDevices",
    "cgroupsPath",
    "rootfsPropagation",
    "seccomp",
    "sysctl",
    "maskedPaths",
    "readonlyPaths",
    "mountLabel",
    "memoryPolicy",
    "personality",
)
# Zero and empty say something here: a score of 0 is not the caller's score, no capability is not the caller's
# capabilities, and an intelRdt without settings still asks for a group named after the container.
_PROCESS_BY_PRESENCE = ("capabilities", "oomScoreAdj")
_LINUX_BY_PRESENCE = ("intelRdt",)

CORE = ("ociVersion", "process.args", "process.env", "annotations")
FIELDS = (
    *_TOP,
    "hooks",
    *[
        f"process.{name}"
        for name in (*_PROCESS, "user", "cwd", "consoleSize", *_PROCESS_BY_PRESENCE)
    ],
    *[f"linux.{name}" for name in (*_LINUX, "resources", *_LINUX_BY_PRESENCE)],
)

_PROCESS_PATHS = {name: f"process.{name}" for name in _PROCESS}
_LINUX_PATHS = {name: f"linux.{name}" for name in _LINUX}


def set_fields(config: Mapping[str, Any]) -> list[str]:
    """The fields of FIELDS that a valid config sets, each of which needs an owner.

    null, false, "", 0 and empty arrays and objects are not set where they mean the same as nothing: everywhere but in
    process.oomScoreAdj, process.capabilities and linux.intelRdt. Objects that hold only such values, as `hooks` with
    empty lists, are not set either, and so are user 0:0 and the working directory `/`, which the spec requires to be
    written and which are what a process begins with. process.consoleSize is only set where there is a terminal, as the
    spec has it.
    """
    found = [name for name in _TOP if config.get(name)]
    hooks = config.get("hooks")
    if hooks and any(hooks.values()):
        found.append("hooks")
    process = config.get("process")
    if process:
        found += [path for name, path in _PROCESS_PATHS.items() if process.get(name)]
        user = process.get("user")
        if user and (any(user.values()) or user.get("umask") is not None):
            found.append("process.user")
        if process.get("cwd", "/") != "/":
            found.append("process.cwd")
        if process.get("terminal") and process.get("consoleSize"):
            found.append("process.consoleSize")
        for name in _PROCESS_BY_PRESENCE:
            if process.get(name) is not None:
                found.append(f"process.{name}")
    linux = config.get("linux")
    if linux:
        found += [path for name, path in _LINUX_PATHS.items() if linux.get(name)]
        resources = linux.get("resources")
        if resources and any(resources.values()):
            found.append("linux.resources")
        for name in _LINUX_BY_PRESENCE:
            if linux.get(name) is not None:
                found.append(f"linux.{name}")
    return found
