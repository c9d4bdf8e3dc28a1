"""linux.netDevices: moving network devices into the container's network namespace by netlink(7)."""

from __future__ import annotations

import os
from errno import EEXIST

from ocifw.errors import OcifwError, Problem, errno_text
from ocifw.linux.namespaces import CLONE_NEWNET, setns
from ocifw.steps import RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Context, Host

AT = "linux.netDevices"
SLOT = "network:namespace"

_IFF_UP = 1
_IFA_F_PERMANENT = 0x80
_RT_SCOPE_UNIVERSE = 0
# What the kernel decides about an address, or counts; the rest of an address is what it was given.
_FLAGS_OF_THE_KERNEL = 0x01 | 0x08 | 0x20 | 0x40 | _IFA_F_PERMANENT


class MoveDevice(RuntimeStep):
    """Move the device `name` of the runtime's network namespace into the container's, call it `inside`, and set it up.

    Its permanent addresses of global scope, which the kernel drops with the move, are given to it again.
    Taken back only when `create` fails: a container that is deleted does not give its devices back (config-linux.md).
    """

    _text = "move network device {name} into the container as {inside}"
    undoable = True
    name: str
    inside: str

    def apply(self, context: Context) -> None:
        if SLOT not in context.fds:
            path = f"/proc/{context.pid}/ns/net"
            context.fds[SLOT] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        target = context.fds[SLOT]
        with _routes() as here, _routes(target) as there:
            device = _find(here, self.name)
            if device is None:
                raise OcifwError(f"network device {self.name!r} does not exist on the host")
            if _find(there, self.inside) is not None:
                raise OcifwError(
                    f"network device {self.inside!r} exists already in the container's network namespace"
                )
            addresses = _addresses(here, device["index"])
            # From here on, it is to be brought back.
            object.__setattr__(self, "_before", (bool(device["flags"] & _IFF_UP), addresses))
            _move(here, device["index"], self.inside, target)
            _set_up(there, self.inside, addresses)

    def undo(self, context: Context) -> None:
        before, target = self.__dict__.get("_before"), context.fds.get(SLOT)
        if before is None or target is None:
            return
        was_up, addresses = before
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _routes() as here, _routes(target) as there:
                device = _find(there, self.inside)
                if device is None:
                    device = _find(there, self.name)
                if device is not None:
                    _move(there, device["index"], self.name, home)
                if _find(here, self.name) is not None:
                    _set_up(here, self.name, addresses, was_up)
        finally:
            os.close(home)


def steps(config: dict[str, Any]) -> Iterator[MoveDevice]:
    """A step for each device."""
    for name, device in config["linux"]["netDevices"].items():
        yield MoveDevice(name, (device or {}).get("name") or name, at=f"{AT}.{name}")


def problems(config: dict[str, Any], host: Host) -> Iterator[Problem]:
    """Devices are the host's: only who has privileges there may give them away, and not to the host itself."""
    if host.euid != 0 or host.in_user_namespace:
        yield Problem(AT, "network devices are not supported for rootless containers")
    for entry in config["linux"].get("namespaces") or ():
        if entry["type"] == "network" and entry.get("path"):
            try:
                same = os.stat(entry["path"]).st_ino == os.stat("/proc/self/ns/net").st_ino
            except OSError:
                continue  # namespaces' to say
            if same:
                text = "unable to move network devices without a private NET namespace"
                yield Problem(AT, text)


# ---- netlink --------------------------------------------------------------------------------------------------------


class _routes:  # noqa: N801 - read as a verb: with _routes(fd) as there
    """pyroute2's IPRoute of this network namespace, or, with a file descriptor, of another one."""

    def __init__(self, namespace: int = -1) -> None:
        self.namespace = namespace
        self.route: Any = None

    def __enter__(self) -> Any:
        from pyroute2 import IPRoute  # type: ignore[import-untyped]  # it has no types

        if self.namespace < 0:
            self.route = IPRoute()
            return self.route
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # A socket stays in the namespace in which it was made: with the first question at the latest.
            setns(self.namespace, CLONE_NEWNET)
            try:
                self.route = IPRoute()
                self.route.get_links(1)
            finally:
                setns(home, CLONE_NEWNET)
        finally:
            os.close(home)
        return self.route

    def __exit__(self, *_: object) -> None:
        self.route.close()


def _find(route: Any, name: str) -> Any:
    """The device of this name, None when there is none. Alternative names do not count."""
    return next((d for d in route.get_links() if d.get_attr("IFLA_IFNAME") == name), None)


def _addresses(route: Any, index: int) -> list[dict[str, Any]]:
    """The permanent addresses of global scope of a device, as `addr` takes them."""
    found = []
    for message in route.get_addr(index=index):
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        if message["scope"] != _RT_SCOPE_UNIVERSE or not flags & _IFA_F_PERMANENT:
            continue
        address: dict[str, Any] = {
            "family": message["family"],
            "prefixlen": message["prefixlen"],
            "flags": flags & ~_FLAGS_OF_THE_KERNEL,
        }
        # IFA_LOCAL is the device's own where both are there; IFA_ADDRESS is then the peer's.
        for key in ("address", "local", "broadcast"):
            value = message.get_attr(f"IFA_{key.upper()}")
            if value is not None:
                address[key] = value
        found.append(address)
    return found


def _move(route: Any, index: int, name: str, namespace: int) -> None:
    """One message, so that no moment shows the device under a name that is taken on the other side."""
    from pyroute2 import NetlinkError

    try:
        route.link("set", index=index, state="down")
        route.link("set", index=index, net_ns_fd=namespace, ifname=name)
    except NetlinkError as error:
        text = "the name is taken there" if error.code == EEXIST else errno_text(error.code)
        raise OcifwError(f"unable to move network device to {name!r}: {text}") from error


def _set_up(route: Any, name: str, addresses: list[dict[str, Any]], up: bool = True) -> None:
    from pyroute2 import NetlinkError

    try:
        index = _find(route, name)["index"]
        for address in addresses:
            route.addr("replace", index=index, **address)
        if up:
            route.link("set", index=index, state="up")
    except NetlinkError as error:
        raise OcifwError(f"network device {name!r}: {errno_text(error.code)}") from error
