"""The controller devices: linux.resources.devices, as v1's files take it; for v2 see `device_filter`.

The rules of config.json are applied in order to a set that begins with "nothing is allowed", as a v1 cgroup would; what
comes out is written at once: a default and the exceptions to it. runc's default devices are appended to the rules.
"""

from __future__ import annotations

from errno import EPERM

from ocifw.errors import StepFailed, errno_text
from ocifw.step import RuntimeStep
from ocifw_cgroups.files import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocifw.context import Context

    Key = tuple[str, int, int]

WILDCARD = -1
_LARGEST = 2**31 - 1
TUN = ("c", 10, 200, "rwm")
ALLOWED = (
    ("c", WILDCARD, WILDCARD, "m"),
    ("b", WILDCARD, WILDCARD, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 136, WILDCARD, "rwm"),
    ("c", 5, 2, "rwm"),
    TUN,
)
"""What every container may use, as runc has it: mknod of any, null, random, full, tty, zero, urandom, pts, ptmx, tun."""

_ORDER = "rwm"
_ALLOW_ALL = "a *:* rwm"


class Rules:
    """A default and the exceptions to it, by device type, major and minor (WILDCARD is any), as sets of "r", "w", "m"."""

    def __init__(self, allow: bool = False) -> None:
        self.allow = allow
        self.exceptions: dict[Key, str] = {}

    def add(self, kind: str, major: int, minor: int, access: str, allow: bool) -> None:
        """Apply one rule. Raises ValueError when the kernel could not express the result."""
        if kind == "a":
            if (major, minor, len(set(access))) == (WILDCARD, WILDCARD, 3):
                self.allow, self.exceptions = allow, {}
                return
            # The kernel would take any rule of type `a` for all devices and accesses.
            self.add("c", major, minor, access, allow)
            self.add("b", major, minor, access, allow)
        elif allow != self.allow:
            key = (kind, major, minor)
            self.exceptions[key] = _union(self.exceptions.get(key, ""), access)
        else:
            self._remove((kind, major, minor), access)

    def _remove(self, key: Key, access: str) -> None:
        """Take accesses out of an exception; the kernel ignores what is only part of a wider exception."""
        kind, major, minor = key
        for wider in ((kind, WILDCARD, minor), (kind, major, WILDCARD), (kind, WILDCARD, WILDCARD)):
            if wider != key and set(self.exceptions.get(wider, "")) & set(access):
                raise ValueError(
                    f"cannot punch hole in existing wildcard rule [{_text(wider, self.exceptions[wider])}]"
                )
        rest = "".join([letter for letter in self.exceptions.get(key, "") if letter not in access])
        self.exceptions.pop(key, None)
        if rest:
            self.exceptions[key] = rest

    def lines(self) -> tuple[str, ...]:
        """The exceptions as the files take them, in a fixed order."""
        return tuple([_text(key, self.exceptions[key]) for key in sorted(self.exceptions)])


def _union(one: str, other: str) -> str:
    return "".join([letter for letter in _ORDER if letter in one or letter in other])


def _text(key: Key, access: str) -> str:
    kind, major, minor = key
    return f"{kind} {_number(major)}:{_number(minor)} {access}"


def _number(number: int) -> str:
    return "*" if number == WILDCARD else str(number)


def rules_of(devices: Iterable[dict[str, Any]], compat: str = "runc") -> Rules:
    """The rules of linux.resources.devices, with the default devices. Raises ValueError; see `Rules.add`.

    compat: tun is none of the specification's default devices; engines' users rely on runc's having it.
    """
    rules = _applied(devices)
    if not rules.allow:
        allowed = ALLOWED if compat == "runc" else [rule for rule in ALLOWED if rule != TUN]
        if not rules.exceptions:
            rules.exceptions = {rule[:3]: rule[3] for rule in allowed}
            return rules
        for kind, major, minor, access in allowed:
            rules.add(kind, major, minor, access, True)
    return rules


def _applied(devices: Iterable[dict[str, Any]]) -> Rules:
    rules = Rules()
    for device in devices:
        rules.add(
            device.get("type") or "a",
            _wildcard(device.get("major")),
            _wildcard(device.get("minor")),
            device.get("access") or "",
            device["allow"],
        )
    return rules


def _wildcard(number: int | None) -> int:
    return WILDCARD if number is None else number


def problems(devices: Iterable[dict[str, Any]], version: int) -> Iterator[tuple[str, str]]:
    rules = Rules()
    for index, device in enumerate(devices):
        path = f"devices[{index}]"
        if not device.get("access"):
            yield path, f"device access at {index} field cannot be empty"
            continue
        for key in ("major", "minor"):
            if not WILDCARD <= _wildcard(device.get(key)) <= _LARGEST:
                yield f"{path}.{key}", f"{device[key]} is not a number of a device"
        kind = device.get("type") or "a"
        if kind not in ("a", "b", "c"):
            yield f"{path}.type", f"{kind!r}: only character and block devices can be controlled"
            continue
        numbers = _wildcard(device.get("major")), _wildcard(device.get("minor"))
        try:
            rules.add(kind, *numbers, device["access"], device["allow"])
        except ValueError as error:
            yield path, str(error)


def is_open(devices: Iterable[dict[str, Any]]) -> bool:
    """Whether the rules allow everything."""
    rules = _applied(devices)
    return rules.allow and not rules.exceptions


class SetDevices(RuntimeStep):
    """Restrict devices of a v1 cgroup: everything but `exceptions` is allowed, or denied.

    Where everything is allowed and already was, nothing is written.
    """

    folder: str
    allow: bool
    exceptions: tuple[str, ...]

    def describe(self) -> str:
        default = "allow" if self.allow else "deny"
        except_ = f" except {', '.join(self.exceptions)}" if self.exceptions else ""
        return f"{default} all devices{except_} in cgroup {self.folder}"

    def apply(self, context: Context) -> None:
        first, second = ("devices.allow", "devices.deny")
        if not self.allow:
            first, second = second, first
        if not self.allow or read(f"{self.folder}/devices.list") != _ALLOW_ALL:
            self._write(first, ["a"])
        self._write(second, self.exceptions)

    def _write(self, name: str, values: Iterable[str]) -> None:
        for value in values:
            try:
                write(f"{self.folder}/{name}", value)
            except OSError as error:
                path = f"{self.folder}/{name}"
                text = f'failed to write "{value}": write {path}'
                raise StepFailed(self, error.errno or EPERM, "write", text) from error

    def failure(self, number: int, call: str, detail: str) -> str:
        return f"{detail}: {errno_text(number)}"
