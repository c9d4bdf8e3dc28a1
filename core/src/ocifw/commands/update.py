"""`ocifw update`: change the limits of a container."""

from __future__ import annotations

from ocifw.errors import OcifwError
from ocifw.options import NUMBER, Option, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "change the limits of a container"
USAGE = "<container-id>"
DESCRIPTION = """
What is not given stays as it is. With --resources the other options are ignored; the file is linux.resources of config.json,
in which 0 and "" mean "not given":

    {"memory": {"limit": 268435456}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 100}}

Sizes are bytes, or have a suffix: 512m, 2g; -1 is no limit.
"""
OPTIONS = (
    Option("resources", "r", help="file with the resources to change, or '-' for standard input"),
    Option("blkio-weight", "", NUMBER, None, "weight of block IO, 10 to 1000"),
    Option("cpu-period", help="period of the CPU quota, in microseconds"),
    Option("cpu-quota", help="CPU time in each period, in microseconds"),
    Option("cpu-burst", help="CPU time that may be saved up, in microseconds"),
    Option("cpu-share", help="CPU weight, relative to other containers"),
    Option("cpu-rt-period", help="period of realtime scheduling, in microseconds"),
    Option("cpu-rt-runtime", help="realtime CPU time in each period, in microseconds"),
    Option("cpu-idle", help="1: run only when nobody else wants to"),
    Option("cpuset-cpus", help="CPUs to use, as 0-2,4"),
    Option("cpuset-mems", help="memory nodes to use, as 0,1"),
    Option("memory", help="limit of memory"),
    Option("memory-reservation", help="soft limit of memory"),
    Option("memory-swap", help="limit of memory and swap together"),
    Option("kernel-memory", hidden=True),
    Option("kernel-memory-tcp", hidden=True),
    Option("pids-limit", "", NUMBER, None, "limit of processes"),
    Option("l3-cache-schema", help="Intel RDT: schema of the L3 cache"),
    Option("mem-bw-schema", help="Intel RDT: schema of the memory bandwidth"),
)
ARGUMENTS = (1, 1)

_PLACES = (
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("cpuset-cpus", "cpu", "cpus"),
    ("cpuset-mems", "cpu", "mems"),
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
    ("blkio-weight", "blockIO", "weight"),
    ("pids-limit", "pids", "limit"),
)
_SIGNED = ("quota", "realtimeRuntime")
_MEANT_AS_ZERO = ("burst", "idle", "swappiness", "disableOOMKiller", "checkBeforeUpdate",
                  "useHierarchy")  # fmt: skip


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Change the limits of the container `arguments[0]`."""
    from ocifw.operations import update

    source = options["resources"]
    if source:
        from ocifw import document

        found = document.read_fd(0, "stdin") if source == "-" else document.read(source, source)
        update(globals_, arguments[0], given(found, source), _intel_rdt(options))
    else:
        update(globals_, arguments[0], from_options(options), _intel_rdt(options))


def given(document: Any, source: str) -> dict[str, Any]:
    """What a document of resources asks to change: without devices, and without what says "not given".

    Engines fill in whole structures of Go: docker sends 0 for every limit that it does not mean. devices are never
    updated, as in runc: others (NVIDIA's hook) have added rules that the document does not know.
    """
    if not isinstance(document, dict):
        raise OcifwError(f"{source}: expected an object, not {type(document).__name__}")
    return {
        name: value
        for name, value in ((n, _given(v)) for n, v in document.items() if n != "devices")
        if value not in (None, {}, [])
    }


def _given(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: part
        for name, part in value.items()
        if not (
            part is None
            or (isinstance(part, (str, list, dict)) and not part)
            or (type(part) is int and part == 0 and name not in _MEANT_AS_ZERO)
        )
    }


def from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options ask to change, as linux.resources. Raises OcifwError for values that make no sense."""
    if options["kernel-memory"] or options["kernel-memory-tcp"]:
        from ocifw import log

        log.warning("kernel memory limits are ignored: the kernel has none any more")
    resources: dict[str, Any] = {}
    for option, group, field in _PLACES:
        value = options[option]
        if value in ("", None):
            continue
        if group == "memory":
            value = _size(option, value)
        elif isinstance(value, str) and field not in ("cpus", "mems"):
            value = _number(option, value, signed=field in _SIGNED)
        resources.setdefault(group, {})[field] = value
    return resources


def _intel_rdt(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the options ask to change of linux.intelRdt."""
    places = (("l3-cache-schema", "l3CacheSchema"), ("mem-bw-schema", "memBwSchema"))
    return {field: options[option] for option, field in places if options[option]}


def _number(option: str, text: str, signed: bool) -> int:
    number = integer(text)
    if number is None or (number < 0 and not signed):
        raise OcifwError(f'invalid value for {option}: "{text}": invalid syntax')
    return number


def _size(option: str, text: str) -> int:
    """A number of bytes: `1024`, `512m`, `1.5 GiB`; -1 is no limit. Suffixes are powers of 1024."""
    if text == "-1":
        return -1
    body = text.lower().removesuffix("b").removesuffix("i").rstrip(" ")
    shift = 10 * ("kmgtp".find(body[-1:]) + 1) if body else 0
    digits = (body[:-1] if shift else body).rstrip(" ")
    whole, point, fraction = digits.partition(".")
    if not whole.isdigit() or not digits.isascii() or (point and not fraction.isdigit()):
        raise OcifwError(f"invalid value for {option}: invalid size: '{text}'")
    number: int = (int(whole + fraction) << shift) // 10 ** len(fraction)
    if number >= 2**63:
        raise OcifwError(f"invalid value for {option}: size out of range: '{text}'")
    return number
