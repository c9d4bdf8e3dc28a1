"""What `checkpoint --check` says: whether a container can be dumped, and what its restore will need."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError

from . import external, rpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from ocifw.container import Container

_ESTABLISHED = "01"


def report(container: Container, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The document. `possible`: no check failed. `needs`: what the machine of the restore must have alike."""
    checks = [
        {"name": name, "ok": ok, "detail": detail}
        for name, ok, detail in _checks(container, settings)
    ]
    return {
        "id": container.id,
        "possible": all(one["ok"] for one in checks),
        "checks": checks,
        "needs": _needs(container),
    }


def _checks(container: Container, settings: Mapping[str, Any]) -> Iterator[tuple[str, bool, str]]:
    status = container.status
    yield "status", status in ("running", "paused"), status
    lacking = rpc.missing(settings)
    yield "packages", not lacking, "missing: " + ", ".join(lacking) if lacking else "criu, pycriu"
    if not lacking:
        yield from _criu(rpc.binary(settings))
    config = container.config
    for kind, path in external.joined(config):
        detail = f"{kind}: {path}"
        yield "joined namespace", os.path.exists(path), detail
    for _, source in external.binds(config, container.bundle):
        yield "bind mount", os.path.exists(source), source
    if (config.get("linux") or {}).get("seccomp", {}).get("listenerPath"):
        yield "seccomp", False, "a filter with a listener: CRIU cannot dump it"
    if container.pid:
        yield from _processes(container)


def _criu(path: str) -> Iterator[tuple[str, bool, str]]:
    def asked(what: Callable[[], str]) -> tuple[bool, str]:
        try:
            return True, what()
        except OcifwError as error:
            return False, str(error)

    ok, detail = asked(lambda: ".".join(map(str, rpc.version(path))))
    yield "criu", ok, f"{path}: {detail}"
    if not ok:
        return

    def check() -> str:
        rpc.ask(path, rpc.request("CHECK"))
        return os.uname().release

    ok, detail = asked(check)
    # Not all that it checks is needed for every container: only a dump tells.
    yield (
        "kernel",
        True,
        detail if ok else f"{os.uname().release}: `criu check` finds something missing",
    )
    # Not having them only rules some options out.
    for name, option in (("mem_track", "--pre-dump"), ("lazy_pages", "--lazy-pages")):
        found = rpc.features(path, name)[name]
        yield f"feature {name}", True, option if found else f"no {option} on this machine"


def _processes(container: Container) -> Iterator[tuple[str, bool, str]]:
    pid = container.pid
    try:
        for fd, link in enumerate(external.standard_files(pid)):
            terminal = link.startswith(("/dev/pts/", "/dev/tty"))
            own = bool((container.config.get("process") or {}).get("terminal"))
            option = " (needs --shell-job)" if terminal and not own else ""
            option = " (needs --ext-unix-sk)" if link.startswith("socket:") else option
            yield f"file descriptor {fd}", True, f"{link}{option}"
        connections = _established(pid)
        if connections:
            yield "tcp", True, f"{connections} open connection(s): needs --tcp-established"
    except OSError as error:
        yield "processes", False, f"process {pid}: {error.strerror}"


def _established(pid: int) -> int:
    """How many TCP connections are open in the network namespace of a process."""
    count = 0
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                rows = [line.split() for line in file]
        except FileNotFoundError:
            continue
        count += len([row for row in rows[1:] if row[3] == _ESTABLISHED])
    return count


def _needs(container: Container) -> dict[str, Any]:
    process = container.config.get("process") or {}
    profile = process.get("apparmorProfile") or ""
    return {
        "architecture": os.uname().machine,
        "kernel": os.uname().release,
        "cpu": _cpu_flags(),
        "lsm": profile or process.get("selinuxLabel") or "",
        "mounts": [source for _, source in external.binds(container.config, container.bundle)],
        "namespaces": [path for _, path in external.joined(container.config)],
        "plugins": [row[:2] for row in container.state.get("plugins") or ()],
    }


def _cpu_flags() -> list[str]:
    """The CPU's features: a program may have found out at its start which it can use."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return sorted(value.split())
    return []
