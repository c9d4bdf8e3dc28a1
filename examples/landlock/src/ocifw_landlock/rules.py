"""From settings to the rights of landlock(7)."""

from __future__ import annotations

from ocifw.errors import ConfigError, Problem
from ocifw.steps import RestrictByLandlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15
ALL = (1 << 16) - 1
READ = READ_FILE | READ_DIR
WRITE = ALL & ~EXECUTE
BIND_TCP, CONNECT_TCP = 1, 2
SCOPES = 3


def check(config: dict[str, Any]) -> None:
    """Raise ConfigError where the kernel would refuse: only a process that cannot gain privileges may restrict itself."""
    if not (config.get("process") or {}).get("noNewPrivileges"):
        raise ConfigError(
            [Problem("process.noNewPrivileges", "must be true for the settings of plugin landlock")]
        )


def restriction(settings: dict[str, Any]) -> RestrictByLandlock:
    """The step. Without any path nothing is said about files, without any port nothing about the network.

    What may be executed may be read, and what may be written, too.
    """
    rights: dict[str, int] = {}
    for name, right in (("read", READ), ("execute", READ | EXECUTE), ("write", WRITE)):
        for path in settings.get(name, ()):
            rights[path] = rights.get(path, 0) | right
    ports: dict[int, int] = {}
    network = 0
    for name, right in (("bind", BIND_TCP), ("connect", CONNECT_TCP)):
        if name in settings:
            network |= right
        for port in settings.get(name, ()):
            ports[port] = ports.get(port, 0) | right
    return RestrictByLandlock(
        tuple(rights),
        tuple(rights.values()),
        ALL if rights else 0,
        network,
        tuple(ports),
        tuple(ports.values()),
        SCOPES if settings.get("scoped") else 0,
        settings.get("least-abi", 1),
        at="the settings of plugin landlock",
    )
