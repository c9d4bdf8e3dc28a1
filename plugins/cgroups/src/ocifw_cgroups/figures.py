"""Numbers from the files of cgroups, in the form of runc's stats document."""

from __future__ import annotations

from errno import ENODEV, ENOENT, EOPNOTSUPP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def keyed(text: str) -> dict[str, int]:
    """A file of lines `NAME NUMBER` as a mapping. Other lines are left out."""
    figures = {}
    for line in text.split("\n"):
        name, _, number = line.partition(" ")
        if number.isdecimal():
            figures[name] = int(number)
    return figures


def pressure(folder: str, resource: str) -> dict[str, Any]:
    """Pressure stall information (PSI) of a v2 cgroup as `{"psi": {"some": …, "full": …}}`; empty where it is not counted.

    Averages are percents of time, totals microseconds.
    """
    from .files import read

    try:
        text = read(f"{folder}/{resource}.pressure")
    except OSError as error:
        # EOPNOTSUPP: the kernel counts it, but was started with psi=0.
        if error.errno not in (ENOENT, ENODEV, EOPNOTSUPP):
            raise
        return {}
    found: dict[str, dict[str, float]] = {}
    for line in text.split("\n"):
        kind, *pairs = line.split()
        found[kind] = {}
        for pair in pairs:
            name, _, number = pair.partition("=")
            found[kind][name] = int(number) if name == "total" else float(number)
    return {"psi": found}


def limit_or_max(text: str, maximum: int) -> int:
    """A limit, `maximum` for "max"."""
    return maximum if text == "max" else int(text)


def compact(figures: dict[str, Any]) -> dict[str, Any]:
    """Without zeros and empty values, which runc's document leaves out."""
    return {key: value for key, value in figures.items() if value}
