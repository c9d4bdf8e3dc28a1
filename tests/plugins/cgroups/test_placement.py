"""Which hierarchies are found, and where a container's cgroups lie in them."""

from __future__ import annotations

import pytest

from ocifw.errors import OcifwError
from ocifw_cgroups import hierarchies, placement
from ocifw_cgroups.hierarchies import Hierarchy


def test_v1_hierarchies(v1):
    """Each mounted hierarchy is found with all its controllers and the runtime's own cgroup."""
    layout = hierarchies.layout(v1)
    assert not layout.unified
    assert layout.hierarchy("cpuacct") == Hierarchy(
        ("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/"
    )
    assert layout.hierarchy("memory") == Hierarchy(
        ("memory",), "/sys/fs/cgroup/memory", "/own/memory"
    )
    assert layout.hierarchy("name=systemd") == Hierarchy(
        ("name=systemd",), "/sys/fs/cgroup/systemd", "/"
    )
    assert layout.hierarchy("hugetlb") is None


def test_hybrid_is_not_unified(hybrid):
    """A v2 hierarchy beside v1 is one more hierarchy; controllers are v1's."""
    layout = hierarchies.layout(hybrid)
    assert not layout.unified
    assert layout.hierarchies[-1] == Hierarchy(("",), "/sys/fs/cgroup/unified", "/")


def test_v2(v2):
    """cgroup v2 at /sys/fs/cgroup is the only hierarchy, for every controller."""
    layout = hierarchies.layout(v2)
    assert layout.unified
    assert layout.hierarchy("memory") == Hierarchy(("",), "/sys/fs/cgroup", "/user/session")


def test_v1_mount_beside_v2_does_not_count(with_cgroups):
    """With v2 at /sys/fs/cgroup, a v1 hierarchy that somebody mounted elsewhere is left alone."""
    mounts = (
        "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        "32 23 0:29 / /mnt/net_cls rw - cgroup none rw,net_cls\n"
    )
    host = with_cgroups(mounts, "1:net_cls:/\n0::/\n")
    assert [one.controllers for one in hierarchies.layout(host).hierarchies] == [("",)]


def test_mounts_elsewhere_count_less(with_cgroups):
    """Of two mounts of a hierarchy the one below /sys/fs/cgroup counts, wherever it stands; escapes are undone."""
    mounts = (
        "50 23 0:36 / /var/lib/x/pids rw - cgroup cgroup rw,pids\n"
        "51 23 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "52 23 0:37 / /mnt/a\\040b rw - cgroup cgroup rw,memory\n"
    )
    host = with_cgroups(mounts, "8:pids:/\n4:memory:/\n")
    assert [one.mountpoint for one in hierarchies.layout(host).hierarchies] == [
        "/sys/fs/cgroup/pids",
        "/mnt/a b",
    ]


def test_own_cgroup_inside_a_container(with_cgroups):
    """Where only a part of a hierarchy is mounted, the own cgroup is what is left below that part."""
    mounts = (
        "51 23 0:36 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
        "52 23 0:37 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "53 23 0:38 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    )
    own = "8:pids:/docker/x/y\n4:memory:/docker/x\n3:cpu:/docker/xyz\n"
    found = hierarchies.layout(with_cgroups(mounts, own)).hierarchies
    assert [one.own for one in found] == ["/y", "/", "/"]


def test_no_cgroups_at_all(with_cgroups):
    """Nothing mounted is an error with runc's text."""
    with pytest.raises(OcifwError, match="no cgroup mount found in mountinfo"):
        hierarchies.layout(with_cgroups("23 1 254:0 / / rw - ext4 /dev/vda rw\n", "0::/\n"))


@pytest.mark.parametrize(
    ("path", "memory", "pids"),
    [
        ("", "/own/memory/box", "/box"),
        ("rel/ative", "/own/memory/rel/ative", "/rel/ative"),
        ("/abs/olute", "/abs/olute", "/abs/olute"),
        ("a:b:c", "/own/memory/a:b:c", "/a:b:c"),
        ("../../up", "/own/memory/up", "/up"),
        ("/x/../y//z/.", "/y/z", "/y/z"),
        ("/../../etc", "/etc", "/etc"),
    ],
)
def test_paths_are_runcs(v1, path, memory, pids):
    """cgroupsPath leads where the real runc was seen to make the cgroup; `..` never leads out of the mount."""
    placed = placement.by_controller(placement.folders(hierarchies.layout(v1), path, "box"))
    assert placed["memory"] == f"/sys/fs/cgroup/memory{memory}"
    assert placed["pids"] == f"/sys/fs/cgroup/pids{pids}"
    assert placed["cpu"] == placed["cpuacct"] == f"/sys/fs/cgroup/cpu,cpuacct{pids}"


@pytest.mark.parametrize(
    ("path", "folder"), [("", "/user/box"), ("/a/b", "/a/b"), ("r", "/user/r")]
)
def test_v2_paths(v2, path, folder):
    """On v2 a relative path lies beside the runtime's own cgroup, which cannot have controllers below it."""
    placed = placement.folders(hierarchies.layout(v2), path, "box")
    assert [where for _, where in placed] == [f"/sys/fs/cgroup{folder}"]


FOLDERS = {
    "cpu": "/c/cpu/box",
    "cpuacct": "/c/cpu/box",
    "name=systemd": "/c/systemd/box",
    "": "/c/u/box",
}


def test_join_files():
    """Each folder is joined once: v1 by `tasks`, v2 by `cgroup.procs`, which may wait, last."""
    assert placement.join_files(FOLDERS) == [
        "/c/cpu/box/tasks",
        "/c/systemd/box/tasks",
        "/c/u/box/cgroup.procs",
    ]


def test_sub_cgroups():
    """`exec --cgroup` chooses a cgroup below the container's, for one controller or for all."""
    every = placement.sub_cgroups(FOLDERS, [("", "sub")])
    assert set(every.values()) == {"/c/cpu/box/sub", "/c/systemd/box/sub", "/c/u/box/sub"}
    one = placement.sub_cgroups(FOLDERS, [("systemd", "/a//b/"), ("cpu,cpuacct", "c")])
    assert one == {
        **FOLDERS,
        "name=systemd": "/c/systemd/box/a/b",
        "cpu": "/c/cpu/box/c",
        "cpuacct": "/c/cpu/box/c",
    }


@pytest.mark.parametrize("path", ["..", "../other", "a/../../..", "/../x", "a/.."])
def test_exec_never_leaves_the_containers_cgroup(path):
    """A path with `..` is refused with runc's text."""
    with pytest.raises(OcifwError, match="is not a sub cgroup path"):
        placement.sub_cgroups(FOLDERS, [("", path)])


def test_exec_in_an_unknown_controller():
    """A controller that the container has no cgroup of is named."""
    with pytest.raises(OcifwError, match="unknown controller rdma"):
        placement.sub_cgroups(FOLDERS, [("rdma", "x")])
