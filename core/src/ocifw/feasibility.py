"""Whether this machine can do what a config asks for: kernel, controllers, security modules, ids, files, programs.

Only what can be told without trying. Every check names the field that asks for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .context import Host, Request

    Found = Iterator[tuple[str, Problem]]

ERROR, WARNING = "error", "warning"


def check(config: dict[str, Any], request: Request, host: Host, criu: bool = False) -> Found:
    """Pairs of severity and problem. criu: the plugin that checkpoints is active."""
    checks: tuple[Callable[[dict[str, Any], Request, Host], Found], ...] = (
        _kernel, _namespaces, _controllers, _security_modules, _ids, _files, _filesystems, _rlimits, _sysctls,
    )  # fmt: skip
    for one in checks:
        yield from one(config, request, host)
    if criu and not _program("criu"):
        yield _warning("", "checkpoint and restore are not possible: criu is not in PATH")


def _error(path: str, message: str) -> tuple[str, Problem]:
    return ERROR, Problem(path, message, "this machine")


def _warning(path: str, message: str) -> tuple[str, Problem]:
    return WARNING, Problem(path, message, "this machine")


# ---- the kernel --------------------------------------------------------------------------------------------------


def _kernel(config: dict[str, Any], _request: Request, host: Host) -> Found:
    own = host.kernel
    for path, what, needed in _needs(config):
        if own < needed:
            yield _error(
                path,
                f"{what} needs Linux {needed[0]}.{needed[1]}, and this is {own[0]}.{own[1]}",
            )


def _needs(config: dict[str, Any]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """What needs which kernel: the man pages' "HISTORY"."""
    # openat2(2) and the mount API have fallbacks; processes by file descriptor have none.
    yield "", "signalling a container (pidfd_open(2))", (5, 3)
    linux = config.get("linux") or {}
    for index, namespace in enumerate(linux.get("namespaces") or ()):
        if namespace["type"] == "time":
            yield f"linux.namespaces[{index}]", "a time namespace", (5, 6)
    for index, mount in enumerate(config.get("mounts") or ()):
        options = mount.get("options") or ()
        if mount.get("uidMappings") or "idmap" in options or "ridmap" in options:
            yield f"mounts[{index}]", "an id-mapped mount (mount_setattr(2))", (5, 12)
        elif any(name.startswith("r") and name in _RECURSIVE for name in options):
            yield f"mounts[{index}].options", "a recursive option (mount_setattr(2))", (5, 12)
    flags = (linux.get("seccomp") or {}).get("flags") or ()
    if "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in flags:
        yield "linux.seccomp.flags", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", (5, 19)
    policy = (linux.get("memoryPolicy") or {}).get("mode")
    if policy == "MPOL_WEIGHTED_INTERLEAVE":
        yield "linux.memoryPolicy.mode", policy, (6, 9)
    if policy == "MPOL_PREFERRED_MANY":
        yield "linux.memoryPolicy.mode", policy, (5, 15)


_RECURSIVE = frozenset({"rro", "rrw", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"})
_NAMESPACE_FILES = {"mount": "mnt", "network": "net"}


def _namespaces(config: dict[str, Any], _request: Request, host: Host) -> Found:
    for index, namespace in enumerate((config.get("linux") or {}).get("namespaces") or ()):
        kind = namespace["type"]
        path = f"linux.namespaces[{index}]"
        if not host.exists(f"/proc/self/ns/{_NAMESPACE_FILES.get(kind, kind)}"):
            yield _error(path, f"the kernel has no {kind} namespaces")
        if namespace.get("path") and not os.path.exists(namespace["path"]):
            yield _error(f"{path}.path", f"{namespace['path']}: no such file or directory")


# ---- cgroups -----------------------------------------------------------------------------------------------------

_CONTROLLERS = {
    "memory": ("memory", "memory"),
    "cpu": ("cpu", "cpu"),
    "pids": ("pids", "pids"),
    "blockIO": ("blkio", "io"),
    "hugepageLimits": ("hugetlb", "hugetlb"),
    "rdma": ("rdma", "rdma"),
    "network": ("net_cls", ""),
}


def _controllers(config: dict[str, Any], request: Request, host: Host) -> Found:
    resources = (config.get("linux") or {}).get("resources") or {}
    if request.no_cgroup:
        return
    unified = host.exists("/sys/fs/cgroup/cgroup.controllers")
    there = _present_controllers(host, unified)
    wanted = [
        (f"linux.resources.{field}", names[unified])
        for field, names in _CONTROLLERS.items()
        if _sets(resources.get(field))
    ]
    cpu = resources.get("cpu") or {}
    if cpu.get("cpus") or cpu.get("mems"):
        wanted.append(("linux.resources.cpu", "cpuset"))
        if not _sets({name: v for name, v in cpu.items() if name not in ("cpus", "mems")}):
            wanted = [one for one in wanted if one != ("linux.resources.cpu", "cpu")]
    for path, controller in wanted:
        if not controller:
            yield _error(path, "cgroup v2 has nothing of the kind")
        elif controller not in there:
            report = _warning if request.rootless else _error
            yield report(path, f"the cgroup controller {controller} is not there")
    if resources.get("unified") and not unified:
        yield _error("linux.resources.unified", "this machine has cgroup v1")


def _sets(value: Any) -> bool:
    """Whether a part of the resources asks for anything."""
    if isinstance(value, dict):
        return any(_sets(member) for member in value.values())
    return bool(value)


def _present_controllers(host: Host, unified: bool) -> set[str]:
    if unified:
        return set(host.read("/sys/fs/cgroup/cgroup.controllers").decode().split())
    found: set[str] = set()
    for line in host.read("/proc/self/mountinfo").decode(errors="replace").splitlines():
        fields = line.partition(" - ")[2].split()
        if fields and fields[0] == "cgroup":
            found.update(fields[2].split(","))
    return found


# ---- security modules, ids ---------------------------------------------------------------------------------------


def _security_modules(config: dict[str, Any], _request: Request, host: Host) -> Found:
    process, linux = config.get("process") or {}, config.get("linux") or {}
    profile = process.get("apparmorProfile")
    if profile and profile != "unconfined":
        if not host.exists("/sys/module/apparmor/parameters/enabled"):
            yield _error("process.apparmorProfile", "AppArmor is not enabled")
        else:
            loaded = _read(host, "/sys/kernel/security/apparmor/profiles")
            names = {line.rpartition(" (")[0] for line in loaded.splitlines()}
            if loaded and profile not in names:
                yield _error("process.apparmorProfile", f"{profile} is not loaded")
    for path, label in (
        ("process.selinuxLabel", process.get("selinuxLabel")),
        ("linux.mountLabel", linux.get("mountLabel")),
    ):
        if label and not host.exists("/sys/fs/selinux/enforce"):
            yield _error(path, "SELinux is not enabled")


def _read(host: Host, path: str) -> str:
    try:
        return host.read(path).decode(errors="replace")
    except OSError:
        return ""


def _ids(config: dict[str, Any], _request: Request, host: Host) -> Found:
    """For users: every id that is mapped must be their own, or of their ranges (newuidmap(1), subuid(5))."""
    if host.euid == 0:
        return
    linux = config.get("linux") or {}
    for field, file, program, own in (
        ("uidMappings", "/etc/subuid", "newuidmap", os.geteuid()),
        ("gidMappings", "/etc/subgid", "newgidmap", os.getegid()),
    ):
        mappings = linux.get(field) or ()
        if [(m["hostID"], m["size"]) for m in mappings] in ([], [(own, 1)]):
            continue
        if not _program(program):
            yield _error(f"linux.{field}", f"{program} is not in PATH (Debian: uidmap)")
        ranges = [*_ranges(_read(host, file), host.euid), (own, 1)]
        for index, mapping in enumerate(mappings):
            first, size = mapping["hostID"], mapping["size"]
            if not any(s <= first and first + size <= s + n for s, n in ranges):
                yield _error(
                    f"linux.{field}[{index}]",
                    f"{first} to {first + size - 1} are not in the ranges that {file} gives to this user",
                )


def _ranges(text: str, uid: int) -> Iterator[tuple[int, int]]:
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    for line in text.splitlines():
        owner, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if owner in (name, str(uid)) and start.isdecimal() and count.strip().isdecimal():
            yield int(start), int(count)


# ---- files -------------------------------------------------------------------------------------------------------


def _files(config: dict[str, Any], request: Request, _host: Host) -> Found:
    if request.rootfs and not os.path.isdir(request.rootfs):
        yield _error("root.path", f"{request.rootfs}: no such file or directory")
    for index, mount in enumerate(config.get("mounts") or ()):
        source = mount.get("source") or ""
        options = mount.get("options") or ()
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            where = os.path.join(request.bundle, source)
            if not os.path.lexists(where):
                yield _error(f"mounts[{index}].source", f"{where}: no such file or directory")
    for moment, hooks in (config.get("hooks") or {}).items():
        if moment == "startContainer":
            continue
        for index, hook in enumerate(hooks or ()):
            if not os.access(hook["path"], os.X_OK):
                reason = (
                    "not executable"
                    if os.path.exists(hook["path"])
                    else "no such file or directory"
                )
                yield _error(f"hooks.{moment}[{index}].path", f"{hook['path']}: {reason}")


def _filesystems(config: dict[str, Any], _request: Request, host: Host) -> Found:
    known = {line.split()[-1] for line in _read(host, "/proc/filesystems").splitlines() if line}
    for index, mount in enumerate(config.get("mounts") or ()):
        kind = mount.get("type") or ""
        options = mount.get("options") or ()
        if (
            kind in ("", "none", "bind", "cgroup", "cgroup2")
            or "bind" in options
            or "rbind" in options
        ):
            continue
        if known and kind.partition(".")[0] not in known:
            yield _warning(f"mounts[{index}].type", f"the kernel has not loaded {kind}")


def _rlimits(config: dict[str, Any], _request: Request, host: Host) -> Found:
    """Beyond the caller's own hard limits only CAP_SYS_RESOURCE leads (setrlimit(2))."""
    import resource

    if _has_capability(host, 24):
        return
    for index, limit in enumerate((config.get("process") or {}).get("rlimits") or ()):
        number = getattr(resource, limit["type"], None)
        if number is None:
            continue
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and limit["hard"] > hard:
            yield _error(
                f"process.rlimits[{index}].hard",
                f"{limit['type']} {limit['hard']} is above this caller's {hard}, and CAP_SYS_RESOURCE is missing",
            )


def _has_capability(host: Host, number: int) -> bool:
    for line in _read(host, "/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return True


def _sysctls(config: dict[str, Any], _request: Request, host: Host) -> Found:
    for name in (config.get("linux") or {}).get("sysctl") or {}:
        if name.startswith("net."):
            # A new network namespace may have others than the host's.
            continue
        if not host.exists(f"/proc/sys/{name.replace('.', '/')}"):
            yield _warning(f'linux.sysctl["{name}"]', "the kernel does not have it")


def _program(name: str) -> bool:
    import shutil

    return shutil.which(name) is not None
