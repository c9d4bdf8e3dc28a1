"""Named v1 hierarchies without a controller, `name=systemd` above all: they limit nothing, processes just join them."""

from __future__ import annotations

PREFIX = "name="


def mount_source(name: str) -> str:
    """What a container's mount of a named hierarchy shows as its source: `systemd`, as runc has it."""
    return name.removeprefix(PREFIX)


def is_named(controller: str) -> bool:
    return controller.startswith(PREFIX)
