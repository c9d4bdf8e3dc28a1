"""ocifw-namespaces on the real kernel: id maps, time offsets, joining."""

from __future__ import annotations

import os

import pytest
from baton import PASS, Container

from ocifw.container import Container as State
from ocifw.context import Context, Host, Request
from ocifw.errors import StepFailed
from ocifw.linux import mount
from ocifw.linux.namespaces import CLONE_NEWNS, CLONE_NEWUSER, unshare
from ocifw.steps import BecomeRoot, Clone, Execute, PassBaton
from ocifw_namespaces import clone, idmap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

# The users daemon and nobody, which newuidmap(1) finds in /etc/passwd.
DAEMON, NOBODY = 1, 65534


def text(path):
    with open(path) as file:
        return file.read()


def rows(pid, kind):
    return [tuple(map(int, line.split())) for line in text(f"/proc/{pid}/{kind}_map").splitlines()]


def in_user_namespace(init_fd):
    """A container process that waits in a new user namespace for its maps, then as its root."""
    container = Container(
        init_fd, [Clone(CLONE_NEWUSER), PassBaton(3), BecomeRoot(), PassBaton(4)], {}
    )
    container.cloned()
    container.expect(PASS)
    return container


def written(container, step):
    """Apply the step and let the process become root of its user namespace."""
    context = Context("box", "/", "/")
    context.pid = container.pid
    step.apply(context)
    container.go()
    container.expect(PASS)


def test_root_writes_the_maps(init_fd):
    """Root maps any ids, several ranges in one write; the process then has the first of them."""
    container = in_user_namespace(init_fd)
    try:
        uids, gids = ((0, 100000, 10), (10, 5, 1)), ((0, 200000, 10),)
        written(container, idmap.WriteIdMaps(uids, gids))
        assert (rows(container.pid, "uid"), rows(container.pid, "gid")) == (list(uids), list(gids))
        assert container.status()["Uid"].split() == ["100000"] * 4
        assert container.status()["Gid"].split() == ["200000"] * 4
        assert text(f"/proc/{container.pid}/setgroups") == "allow\n"
    finally:
        container.end()


def test_a_user_maps_the_own_ids(init_fd, in_child):
    """Without privileges the own ids can be mapped, with setgroups denied first."""

    def rootless():
        container = in_user_namespace(init_fd)
        own = [{"containerID": 0, "hostID": NOBODY, "size": 1}]
        step = idmap.plan({"linux": {"uidMappings": own, "gidMappings": own}}, Host())
        written(container, step)
        assert rows(container.pid, "uid") == [(0, NOBODY, 1)]
        assert text(f"/proc/{container.pid}/setgroups") == "deny\n"
        container.end()

    in_child(rootless, uid=NOBODY)


def subordinate(tmp_path):
    """In a mount namespace of its own, let user daemon have the ids from 300000 on."""
    unshare(CLONE_NEWNS)
    mount.mount("none", "/", "", mount.MS_REC | mount.MS_PRIVATE)
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("daemon:300000:1000\n")
        mount.mount(str(tmp_path / name), f"/etc/{name}", "", mount.MS_BIND)


@pytest.fixture
def helpers():
    for name in ("newuidmap", "newgidmap"):
        if not idmap._helper(name):
            pytest.skip(f"needs {name}")
    for name in ("subuid", "subgid"):
        if not os.path.exists(f"/etc/{name}"):
            pytest.skip(f"needs /etc/{name}")


@pytest.mark.usefixtures("helpers")
def test_helpers_map_subordinate_ids(init_fd, in_child, tmp_path):
    """More than the own id is written by newuidmap and newgidmap, and setgroups stays allowed."""

    def rootless():
        container = in_user_namespace(init_fd)
        both = ((0, DAEMON, 1), (1, 300000, 1000))
        written(container, idmap.WriteIdMaps(both, both))
        assert rows(container.pid, "uid") == rows(container.pid, "gid") == list(both)
        assert text(f"/proc/{container.pid}/setgroups") == "allow\n"
        container.end()

    in_child(rootless, uid=DAEMON, first=lambda: subordinate(tmp_path))


@pytest.mark.usefixtures("helpers")
def test_a_range_that_is_not_the_users_is_refused(init_fd, in_child, tmp_path):
    """The error carries what newuidmap said about the range."""

    def rootless():
        container = in_user_namespace(init_fd)
        with pytest.raises(StepFailed, match=r"newuidmap ended with status 1: .*not allowed"):
            written(container, idmap.WriteIdMaps(((0, 400000, 10),), ((0, DAEMON, 1),)))
        container.end()

    in_child(rootless, uid=DAEMON, first=lambda: subordinate(tmp_path))


def test_a_missing_helper_is_named(init_fd, in_child, monkeypatch):
    """Without newuidmap the error says which capability or program is missing."""
    monkeypatch.setattr(idmap, "_HELPER_FOLDERS", ("/nonexistent",))

    def rootless():
        container = in_user_namespace(init_fd)
        with pytest.raises(StepFailed) as error:
            written(container, idmap.WriteIdMaps(((0, 400000, 10),), ((0, NOBODY, 1),)))
        assert str(error.value) == (
            "map the user namespace's ids: the runtime lacks CAP_SETUID, and newuidmap is not installed"
            " in /nonexistent: operation not permitted (EPERM)"
        )
        assert any("uidmap" in hint for hint in hints(error.value))
        container.end()

    def hints(error):
        from ocifw_namespaces.plugin import ocifw_hints

        return list(ocifw_hints(error))

    in_child(rootless, uid=NOBODY)


def test_overlapping_ranges_are_the_kernels_error(init_fd):
    """EINVAL of the kernel names the file that was written."""
    container = in_user_namespace(init_fd)
    try:
        with pytest.raises(OSError, match=r"Invalid argument: ./proc/.*/uid_map."):
            written(container, idmap.WriteIdMaps(((0, 1, 5), (2, 50, 5)), ()))
    finally:
        container.end()


def test_a_range_outside_the_runtimes_own_user_namespace(init_fd):
    """In a user namespace of its own the runtime can map only what it has, and says which id is not among it."""
    outer = in_user_namespace(init_fd)
    try:
        written(outer, idmap.WriteIdMaps(((0, 100000, 100),), ((0, 100000, 100),)))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                from ocifw.linux.namespaces import setns

                fd = os.open(f"/proc/{outer.pid}/ns/user", os.O_RDONLY)
                setns(fd, CLONE_NEWUSER)
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                assert idmap._not_mapped_here("uid", ((0, 0, 100),)) == ""
                assert idmap._not_mapped_here("uid", ((0, 50, 60),)) == "100"
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        outer.end()


OFFSETS = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 5}}


def with_time(init_fd, uid):
    """A container process in new time and user namespaces, planned and mapped as for this user."""
    own = [{"containerID": 0, "hostID": uid, "size": 1}]
    kinds = ({"type": "user"}, {"type": "time"}, {"type": "uts"}, {"type": "pid"})
    config = {
        "linux": {
            "namespaces": list(kinds),
            "timeOffsets": OFFSETS,
            "uidMappings": own,
            "gidMappings": own,
        }
    }
    steps = [*clone.create_steps(config, Host()), PassBaton(3), BecomeRoot(), PassBaton(4)]
    container = Container(init_fd, steps, {})
    container.cloned()
    container.expect(PASS)
    written(container, idmap.plan(config, Host()))
    return container


needs_time = pytest.mark.skipif(
    not os.path.exists("/proc/self/ns/time"), reason="needs time namespaces (Linux 5.6)"
)


@needs_time
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_time_offsets_with_a_user_namespace(init_fd, in_child, uid):
    """The offsets are in force, for root and for a user without privileges."""

    def planned():
        container = with_time(init_fd, uid)
        # The process's own files in /proc belong to the host's root while it is hidden.
        if uid == 0:
            lines = text(f"/proc/{container.pid}/timens_offsets").splitlines()
            assert [line.split() for line in lines] == [
                ["monotonic", "5", "0"],
                ["boottime", "1000000", "0"],
            ]
        assert rows(container.pid, "uid") == [(0, uid, 1)]
        container.end()

    in_child(planned, uid=uid)


KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
}


@pytest.mark.parametrize("user", [False, True])
def test_exec_joins_the_containers_namespaces(init_fd, user):
    """A process that exec adds is in all namespaces of the container, its user namespace included."""
    kinds = {**KINDS, "user": "user"} if user else KINDS
    config = {"linux": {"namespaces": [{"type": kind} for kind in kinds]}}
    steps = [*clone.create_steps(config, Host()), PassBaton(3)]
    steps += [BecomeRoot(), PassBaton(4)] if user else []
    container = Container(init_fd, steps, {})
    other = None
    try:
        container.cloned()
        container.expect(PASS)
        if user:
            written(container, idmap.WriteIdMaps(((0, 100000, 10),), ((0, 100000, 10),)))
        state = State("/", {"id": "box", "pid": container.pid, "config": config})
        request = Request("exec", "box", "/", "/", "/", container=state)
        pidfd = os.pidfd_open(container.pid)
        joining = [*clone.join_steps(config, request), PassBaton(3)]
        other = Container(init_fd, joining, {"container": pidfd})
        os.close(pidfd)
        other.cloned()
        other.expect(PASS)
        for name in kinds.values():
            theirs, ours = (os.readlink(f"/proc/{p}/ns/{name}") for p in (other.pid, container.pid))
            assert theirs == ours
            assert ours != os.readlink(f"/proc/self/ns/{name}")
    finally:
        if other:
            other.end()
        container.end()


def test_joining_by_path(init_fd):
    """Namespaces given by path are joined, and a path of another type is an error."""
    first = Container(init_fd, [Clone(clone.KINDS["uts"]), PassBaton(3)], {})
    second = third = None
    try:
        first.cloned()
        first.expect(PASS)
        path = f"/proc/{first.pid}/ns/uts"
        config = {"linux": {"namespaces": [{"type": "uts", "path": path}, {"type": "ipc"}]}}
        second = Container(init_fd, [*clone.create_steps(config, Host()), PassBaton(3)], {})
        second.cloned()
        second.expect(PASS)
        assert os.readlink(f"/proc/{second.pid}/ns/uts") == os.readlink(path)
        config["linux"]["namespaces"][0]["type"] = "network"
        third = Container(
            init_fd, [*clone.create_steps(config, Host()), Execute(("/bin/true",), ())], {}
        )
        message = third.receive()
        assert (message.step, message.error, message.call) == (0, 22, "setns")
    finally:
        for container in (first, second, third):
            if container:
                container.end()
