"""Who owns the cgroup of a container: config-linux.md, Cgroup ownership."""

from __future__ import annotations

import pytest

from ocifw_cgroups import plugin
from ocifw_cgroups.delegation import OwnCgroup, owner

PRIVATE = [{"type": "cgroup"}]
MOUNT = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}


def config(uid=1000, mappings=None, namespaces=PRIVATE, **mount):
    linux = {"namespaces": namespaces}
    if mappings:
        linux["uidMappings"] = [{"containerID": 0, "hostID": mappings, "size": 65536}]
    return {"process": {"user": {"uid": uid}}, "linux": linux, "mounts": [MOUNT | mount]}


@pytest.mark.parametrize(
    ("wanted", "uid"),
    [
        (config(), 1000),
        (config(options=["nosuid", "rw"]), 1000),
        (config(options=["ro", "rw"]), 1000),
        (config(mappings=100000), 101000),
        (config(0, mappings=100000), 100000),
        (config(70000, mappings=100000), None),
        (config(options=["nosuid", "ro"]), None),
        (config(source="cgroup2"), None),
        (config(destination="/cg"), None),
        (config(namespaces=[]), None),
        (config(namespaces=[{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]), None),
        ({}, None),
    ],
)
def test_owner(wanted, uid):
    """The mapped user of the process, if the container has a cgroup namespace and a writable mount of its cgroup."""
    assert owner(wanted) == uid


def test_plan(create_request, v1, v2):
    """Only on v2, where delegation is safe; root keeps what is root's."""
    steps = list(plugin.ocifw_prepare(config(), create_request(), v2))
    assert OwnCgroup("/sys/fs/cgroup/user/box", 1000) in steps
    for wanted, host in ((config(), v1), (config(0), v2), (config(options=["ro"]), v2)):
        steps = plugin.ocifw_prepare(wanted, create_request(), host)
        assert not [step for step in steps if isinstance(step, OwnCgroup)]
