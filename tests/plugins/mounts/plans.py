"""Asks the plugin's hooks directly, as the core would, and compares answers as values."""

from __future__ import annotations

from ocifw.context import Host, Request
from ocifw_mounts import plugin

OWN = [{"type": "mount"}, {"type": "network"}, {"type": "pid"}]


def request(**changes):
    """A `create` of the container `box`."""
    values = {"operation": "create", "id": "box", "bundle": "/b", "rootfs": "/b/rootfs"}
    return Request(**{**values, "state_dir": "/run/ocifw/box", **changes})


def config(mounts=(), namespaces=OWN, **linux):
    """A config.json with a mount namespace of its own."""
    return {
        "root": {"path": "rootfs"},
        "mounts": list(mounts),
        "linux": {"namespaces": namespaces, **linux},
    }


def mount(destination, kind="", options=(), source="", **more):
    """An entry of `mounts`."""
    return {"destination": destination, "type": kind, "source": source, "options": options, **more}


def mount_steps(entry, document=None, **changes):
    """The plugin's answer for one mount."""
    document = document or config([entry])
    return plugin.ocifw_mount(entry, 0, document, request(**changes))


def rootfs_steps(document, host=None, **changes):
    """The plugin's answer for the phase rootfs, with its own answers for the mounts."""
    asked = request(**changes)
    answers = [
        plugin.ocifw_mount(entry, index, document, asked)
        for index, entry in enumerate(document["mounts"])
    ]
    return list(plugin.ocifw_rootfs(document, asked, host or Host({}), answers))


def finalize_steps(document, **changes):
    """The plugin's answer for the phase finalize."""
    return list(plugin.ocifw_finalize(document, request(**changes)))


def problems(document, host=None, **changes):
    """What the plugin finds wrong, as texts."""
    found = plugin.ocifw_validate(document, request(**changes), host or Host({}, euid=0))
    return [str(problem) for problem in found]
