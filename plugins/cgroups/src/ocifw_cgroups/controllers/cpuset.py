"""The controller cpuset: linux.resources.cpu.cpus and .mems."""

from __future__ import annotations

from ocifw.errors import OcifwError, errno_text
from ocifw_cgroups.files import read, read_or, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write

_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def v1(cpu: dict[str, Any]) -> list[Write]:
    return [
        ((f"cpuset.{key}", cpu[key]),) for key in ("cpus", "mems") if (cpu.get(key) or "").strip()
    ]


v2 = v1


def problems(cpu: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    for key in ("cpus", "mems"):
        text = (cpu.get(key) or "").strip()
        if text:
            try:
                numbers(text)
            except ValueError:
                yield f"cpu.{key}", f"{text!r} is not a list of numbers and ranges such as 0-3,7"


def numbers(text: str) -> list[int]:
    """The numbers of a list such as `0-2,7` (cpuset(7), List format). Raises ValueError on anything else."""
    found: list[int] = []
    for item in text.split(","):
        part = item.strip()
        if not part:
            continue
        first, _, last = part.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()) or part.endswith("-"):
            raise ValueError(text)
        low, high = int(first), int(last or first)
        if high < low or high > 2**16:
            raise ValueError(text)
        found += range(low, high + 1)
    return found


def stats_v1(folder: str) -> dict[str, Any]:
    """Both lists and the flags of a v1 cpuset."""
    figures: dict[str, Any] = {}
    for key in ("cpus", "mems"):
        listed = numbers(read_or(f"{folder}/cpuset.{key}", ""))
        if listed:
            figures[key] = listed
    for name in _FLAGS:
        figures[name] = int(read_or(f"{folder}/cpuset.{name}", "0"))
    return figures


def fill(folder: str, mountpoint: str, cpus: str, mems: str) -> None:
    """Make a v1 cpuset usable: no process can join one without cpus and mems.

    "" stands for the values of the nearest cgroup above that has some; those between get them, too.
    """
    for name, own in (("cpuset.cpus", cpus), ("cpuset.mems", mems)):
        empty = []
        path = folder.rpartition("/")[0]
        while not (value := read(f"{path}/{name}")) and path != mountpoint:
            empty.append(path)
            path = path.rpartition("/")[0]
        for path in reversed(empty):
            _write(f"{path}/{name}", value)
        _write(f"{folder}/{name}", own or value)


def _write(path: str, value: str) -> None:
    try:
        write(path, value)
    except OSError as error:
        raise OcifwError(
            f'failed to write "{value}": write {path}: {errno_text(error.errno or 0)}'
        ) from error
