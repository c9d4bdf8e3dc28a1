"""What to say when the plugins are not those that made a container. Only imported then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import log
from .errors import OcifwError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .plugins import Terms


class ChangedPlugins(OcifwError):
    """The plugin set refuses to work on a container that other plugins made."""


def report(
    before: Sequence[Sequence[str]], now: Sequence[Sequence[str]], terms: Terms, refuse: bool
) -> None:
    """Log each difference as a warning. Raises ChangedPlugins when the set refuses, and the operation may be refused."""
    found = list(differences(before, now))
    if not found:
        return
    text = f"since the container was created, {', '.join(found)}"
    if refuse and terms.on_change == "refuse":
        raise ChangedPlugins(f"{text}: plugin set {terms.name} refuses that (on-change: refuse)")
    log.warning(text)


def differences(before: Sequence[Sequence[str]], now: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each difference: `plugin x was changed on disk`, `plugin y is gone`. Hashes that are not known differ from none."""
    old = {row[0]: row for row in before}
    new = {row[0]: row for row in now}
    for name, row in old.items():
        other = new.get(name)
        if other is None:
            yield f"plugin {name} is gone"
        elif row[1] != other[1]:
            yield f"plugin {name} went from version {row[1]} to {other[1]}"
        elif len(row) > 2 and row[2] and other[2] and row[2] != other[2]:
            yield f"plugin {name} was changed on disk"
    for name in new:
        if name not in old:
            yield f"plugin {name} came"
