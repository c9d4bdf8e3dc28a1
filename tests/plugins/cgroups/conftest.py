"""Machines that are made up, by what is mounted on them."""

from __future__ import annotations

import pytest

UID_MAP = b"         0          0 4294967295\n"
V1_MOUNTS = """\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
"""
V1_OWN = """\
9:name=systemd:/
8:pids:/
6:freezer:/
5:devices:/
4:memory:/own/memory
3:cpuset:/
1:cpu,cpuacct:/
0::/
"""
HYBRID_MOUNT = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
V2_MOUNTS = """\
23 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
"""


@pytest.fixture
def with_cgroups(machine):
    """A machine with these lines of mountinfo and /proc/self/cgroup: `with_cgroups(mounts, own)`."""

    def make(mounts, own, files=None, euid=0):
        return machine(
            {
                "/proc/self/mountinfo": mounts.encode(),
                "/proc/self/cgroup": own.encode(),
                "/proc/self/uid_map": UID_MAP,
                **(files or {}),
            },
            euid,
        )

    return make


@pytest.fixture
def v1(with_cgroups):
    """Seven v1 hierarchies; the runtime is in /own/memory of memory's and at the root of the others."""
    return with_cgroups(V1_MOUNTS, V1_OWN)


@pytest.fixture
def hybrid(with_cgroups):
    """The same with a v2 hierarchy for tracking processes."""
    return with_cgroups(V1_MOUNTS + HYBRID_MOUNT, V1_OWN)


@pytest.fixture
def v2(with_cgroups):
    """cgroup v2 alone; the runtime is in /user/session."""
    return with_cgroups(V2_MOUNTS, "0::/user/session\n")
