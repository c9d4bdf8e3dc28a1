"""What a machine cannot do for a config, told of machines that are made up."""

from __future__ import annotations

import pytest

from ocifw.context import Host, Request
from ocifw.feasibility import check

BASE = {"ociVersion": "1.2.0"}
REQUEST = Request("create", "c", "/", "/", "/run/c")
V1 = {
    "/proc/self/mountinfo": b"1 2 0:3 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
    "/proc/filesystems": b"nodev\tproc\nnodev\ttmpfs\n\text4\n",
    "/proc/self/status": b"CapEff:\t000001ffffffffff\n",
}


class Old(Host):
    kernel = (5, 4)


def found(config, files=None, host=None, request=REQUEST):
    host = host or Host({**V1, **(files or {})}, euid=0)
    return [
        (severity, p.path, p.message) for severity, p in check({**BASE, **config}, request, host)
    ]


def test_nothing_is_wrong():
    """A config that asks for nothing can be done anywhere."""
    assert found({}) == []


@pytest.mark.parametrize(
    ("config", "files", "expected"),
    [
        (
            {"linux": {"resources": {"memory": {"limit": 1}}}},
            {},
            ("error", "linux.resources.memory", "the cgroup controller memory is not there"),
        ),
        (
            {"linux": {"resources": {"network": {"classID": 1}}}},
            {"/sys/fs/cgroup/cgroup.controllers": b"cpu pids\n"},
            ("error", "linux.resources.network", "cgroup v2 has nothing of the kind"),
        ),
        (
            {"linux": {"resources": {"unified": {"memory.high": "1"}}}},
            {},
            ("error", "linux.resources.unified", "this machine has cgroup v1"),
        ),
        (
            {"process": {"apparmorProfile": "docker-default"}},
            {},
            ("error", "process.apparmorProfile", "AppArmor is not enabled"),
        ),
        (
            {"process": {"apparmorProfile": "mine"}},
            {
                "/sys/module/apparmor/parameters/enabled": b"Y\n",
                "/sys/kernel/security/apparmor/profiles": b"other (enforce)\n",
            },
            ("error", "process.apparmorProfile", "mine is not loaded"),
        ),
        (
            {"linux": {"mountLabel": "a:b:c"}},
            {},
            ("error", "linux.mountLabel", "SELinux is not enabled"),
        ),
        (
            {"linux": {"namespaces": [{"type": "time"}]}},
            {},
            ("error", "linux.namespaces[0]", "the kernel has no time namespaces"),
        ),
        (
            {"mounts": [{"destination": "/x", "type": "nosuchfs"}]},
            {},
            ("warning", "mounts[0].type", "the kernel has not loaded nosuchfs"),
        ),
        (
            {"mounts": [{"destination": "/x", "source": "/nosuchthing", "options": ["bind"]}]},
            {},
            ("error", "mounts[0].source", "/nosuchthing: no such file or directory"),
        ),
        (
            {"hooks": {"poststop": [{"path": "/nosuchthing"}]}},
            {},
            ("error", "hooks.poststop[0].path", "/nosuchthing: no such file or directory"),
        ),
        (
            {"linux": {"sysctl": {"kernel.nosuchthing": "1"}}},
            {},
            ("warning", 'linux.sysctl["kernel.nosuchthing"]', "the kernel does not have it"),
        ),
    ],
)
def test_what_is_missing(config, files, expected):
    """Each thing that the machine lacks names the field that asks for it."""
    assert expected in found(config, files)


def test_the_kernel():
    """What came with a later kernel says which, and which this is."""
    mounts = {"mounts": [{"destination": "/x", "options": ["bind", "idmap"], "source": "/"}]}
    messages = [message for _, _, message in found(mounts, host=Old(dict(V1), euid=0))]
    assert "an id-mapped mount (mount_setattr(2)) needs Linux 5.12, and this is 5.4" in messages


def test_ranges_of_ids():
    """A user can only map the ids that are theirs, or that /etc/subuid gives them."""
    config = {"linux": {"uidMappings": [{"containerID": 0, "hostID": 7000000, "size": 10}]}}
    files = {**V1, "/etc/subuid": b"54321:7000000:10\n"}
    wanted = "linux.uidMappings[0]"
    assert wanted not in [path for _, path, _ in found(config, host=Host(files, euid=54321))]
    files["/etc/subuid"] = b"54321:7000000:9\n"
    assert wanted in [path for _, path, _ in found(config, host=Host(files, euid=54321))]


def test_limits_of_a_user():
    """A hard limit above the caller's own cannot be set without CAP_SYS_RESOURCE."""
    import resource

    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if own == resource.RLIM_INFINITY:
        pytest.skip("needs a limit of open files")
    config = {"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": own + 1}]}}
    assert found(config) == []
    files = {"/proc/self/status": b"CapEff:\t0000000000000000\n"}
    assert [path for _, path, _ in found(config, files)] == ["process.rlimits[0].hard"]
