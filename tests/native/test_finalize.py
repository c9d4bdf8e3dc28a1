"""Steps that change the root and finish the container in it, on the real kernel."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
from pathlib import Path

import pytest
from baton import ERROR, PASS
from box import (
    KERNELS,
    MS_REC,
    MS_SHARED,
    NEWIPC,
    NEWNET,
    NEWPID,
    NODEV,
    NOEXEC,
    NOSUID,
    mounts,
    pause_at,
    paused,
)  # fmt: skip
from conftest import needs_root

from ocifw.steps import (
    AwaitStart,
    Bind,
    BindRootfs,
    ChangeRoot,
    Chdir,
    ChownStdio,
    Clone,
    JoinNamespaces,
    MakeConsole,
    MakeDevice,
    MaskPath,
    Mkdir,
    Mount,
    MoveRoot,
    NewSession,
    OpenRootfs,
    PassBaton,
    PivotRoot,
    ReadonlyPath,
    ReopenDevNull,
    SetAttributes,
    SetExecLabel,
    SetGid,
    SetHostPropagation,
    SetSysctl,
    SetUid,
    Symlink,
    WriteFile,
)  # fmt: skip

pytestmark = needs_root
ENOENT, EACCES, ENODEV, ENOTDIR, EINVAL, ELOOP, EXDEV = 2, 13, 19, 20, 22, 40, 18
on_every_kernel = pytest.mark.parametrize("kernel", KERNELS)

PROC = Mount("proc", "proc", "/proc")
DEV = [Mount("tmpfs", "tmpfs", "/dev", options="mode=755"), MakeDevice("/dev/null", 0o20000, 1, 3)]
PTS = [
    *DEV, Mount("devpts", "devpts", "/dev/pts", options="newinstance,ptmxmode=0666,mode=0620"),
    Symlink("pts/ptmx", "/dev/ptmx"),
]  # fmt: skip


def root(container, path=""):
    """A path in the container's root, for the test to look at."""
    return Path(f"/proc/{container.pid}/root{path}")


def seen_on(container, point):
    return next((m for m in reversed(mounts(container.pid)) if m.point == point), None)


# ---- the root ----


@on_every_kernel
@pytest.mark.parametrize("step", [PivotRoot(), MoveRoot()], ids=["pivot", "move"])
def test_the_root_is_changed(box, kernel, step):
    """The rootfs is the root afterwards, and the working directory; later steps go on in it."""
    (box.rootfs / "file").write_text("here")
    container = box.run(Mkdir("/x"), step, WriteFile("/x/after", b"after"), kernel=kernel)
    assert root(container, "/file").read_text() == "here"
    assert root(container, "/x/after").read_text() == "after"
    assert os.readlink(f"/proc/{container.pid}/cwd") == "/"


@on_every_kernel
def test_pivot_root_leaves_nothing_of_the_host(box, kernel):
    """After pivot_root only the container's mounts are left, and the host's are all there still."""
    before = mounts("self")
    first = [SetHostPropagation(MS_SHARED | MS_REC), BindRootfs(str(box.rootfs))]
    container = box.run(PROC, PivotRoot(), kinds=NEWPID, kernel=kernel, first=first)
    assert [m.point for m in mounts(container.pid)] == ["/", "/proc"]
    assert mounts("self") == before


@on_every_kernel
@pytest.mark.parametrize("user", [False, True])
def test_move_root_removes_the_hosts_proc_and_sys(box, kernel, user):
    """Without pivot_root, nothing of the host's procfs and sysfs stays uncovered in the mount namespace."""
    container = box.start(PROC, PassBaton(1), MoveRoot(), kinds=NEWPID, kernel=kernel, user=user)
    container.expect(PASS)
    # The namespace's first root, which no path leads to afterwards.
    old = os.open(f"/proc/{container.pid}/root", os.O_PATH)

    def listing(name):
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=old)
        names = os.listdir(fd)
        os.close(fd)
        return names

    assert "mounts" in listing("proc") and "kernel" in listing("sys")
    container.go()
    container.expect(PASS)
    assert "mounts" not in listing("proc") and "kernel" not in listing("sys")
    os.close(old)
    assert [m.fstype for m in mounts(container.pid)][1:] == ["proc"]


@on_every_kernel
def test_change_root(box, kernel):
    """Without a mount namespace of its own, chroot(2) is what changes the root."""
    container = box.run(
        ChangeRoot(), Mkdir("/x"), first=[OpenRootfs(str(box.rootfs))], kernel=kernel
    )
    assert os.readlink(f"/proc/{container.pid}/root") == str(box.rootfs)
    assert (box.rootfs / "x").is_dir()


# ---- masked and read-only paths ----


@on_every_kernel
@pytest.mark.parametrize("user", [False, True])
def test_masked_paths(box, kernel, user):
    """Files read as empty, directories are empty and read-only and share one filesystem, missing ones are skipped."""
    for name in ("a", "b", "c"):
        (box.rootfs / name).mkdir()
        (box.rootfs / name / "secret").write_text("secret")
    (box.rootfs / "secret").write_text("secret")
    (box.rootfs / "link").symlink_to("/c")
    names = ("/a", "/b", "/link", "/secret", "/missing", "/secret/below")
    devices = [DEV[0], MakeDevice("/dev/null", 0o20000, 1, 3, source="/dev/null")]
    container = box.run(*devices, PivotRoot(), *map(MaskPath, names), kernel=kernel, user=user)
    for name in ("/a", "/b", "/c"):
        assert os.listdir(root(container, name)) == []
        assert {"ro", "nosuid", "nodev", "noexec"} <= seen_on(container, name).options
        assert "ro" in seen_on(container, name).superblock
    assert root(container, "/secret").read_text() == ""
    assert root(container, "/secret").stat().st_rdev == os.makedev(1, 3)
    assert len({root(container, name).stat().st_dev for name in ("/a", "/b", "/c")}) == 1
    assert not (box.rootfs / "missing").exists()


@on_every_kernel
def test_options_of_masks(box, kernel):
    """What covers masked directories has the options that are given."""
    (box.rootfs / "d").mkdir()
    container = box.run(*DEV, MaskPath("/d", "size=64k,uid=7"), kernel=kernel)
    assert box.inside(container, "/d").stat().st_uid == 7
    failed = box.fail(*DEV, MaskPath("/d", "nonsense=1"), kernel=kernel)
    assert failed[1] == EINVAL


@on_every_kernel
@pytest.mark.parametrize("kind", ["link", "link outside", "other device", "file", "missing"])
def test_masks_use_the_null_device_only(box, kernel, kind):
    """CVE-2025-31133: what stands at /dev/null is bound only when it is the null device."""
    (box.rootfs / "secret").write_text("secret")
    (box.rootfs / "target").write_text("target")
    dev = box.rootfs / "dev"
    dev.mkdir()
    if kind == "link":
        (dev / "null").symlink_to("/target")
    elif kind == "link outside":
        (dev / "null").symlink_to("../../outside/victim")
    elif kind == "other device":
        os.mknod(dev / "null", 0o20666, os.makedev(1, 5))
    elif kind == "file":
        (dev / "null").write_text("")
    index, error, _, detail = box.fail(PivotRoot(), MaskPath("/secret"), kernel=kernel)
    assert index == 1
    assert error == ENOENT if kind == "missing" else error == 0 and "1:3" in detail


@pytest.mark.parametrize("kernel", ["new", "without openat2"])
def test_readonly_paths(box, kernel):
    """A path and the mounts below it become read-only and keep their other flags; missing ones are skipped."""
    (box.rootfs / "d" / "e").mkdir(parents=True)
    (box.rootfs / "file").write_text("")
    steps = [
        Mount("tmpfs", "tmpfs", "/t", attributes=NOSUID | NODEV | NOEXEC), Mount("tmpfs", "tmpfs", "/t/below"),
        PivotRoot(), *map(ReadonlyPath, ("/t", "/d", "/file", "/missing", "/file/below")),
    ]  # fmt: skip
    container = box.run(*steps, kernel=kernel)
    assert {"ro", "nosuid", "nodev", "noexec"} <= seen_on(container, "/t").options
    for point in ("/t/below", "/d", "/file"):
        assert "ro" in seen_on(container, point).options
    assert box.fail(PivotRoot(), ReadonlyPath("/"), kernel=kernel)[:2] == (1, EINVAL)
    assert box.fail(PivotRoot(), MaskPath("/"), kernel=kernel)[:2] == (1, EINVAL)


@pytest.mark.parametrize("kernel", ["without mount_setattr", "4.18"])
def test_readonly_paths_of_old_kernels(box, kernel):
    """Where mounts cannot be changed recursively the topmost becomes read-only, with a warning."""
    steps = [Mount("tmpfs", "tmpfs", "/t", attributes=NOSUID), PivotRoot(), ReadonlyPath("/t")]
    container = box.start(*steps, kernel=kernel)
    message = container.receive()
    assert (message.kind, message.error, message.call) == (13, 38, "mount_setattr")
    container.expect(PASS)
    assert {"ro", "nosuid"} <= seen_on(container, "/t").options


# ---- /dev/null ----


def stdio(container):
    """(device of the node's filesystem, numbers) of fd 0 to 2."""
    infos = [os.stat(f"/proc/{container.pid}/fd/{fd}") for fd in range(3)]
    return {(info.st_dev, info.st_rdev) for info in infos if info.st_rdev == os.makedev(1, 3)}


@pytest.fixture
def null_stdin():
    """Standard input is the host's /dev/null while the test runs, and so that of what it starts."""
    saved, null = os.dup(0), os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    yield
    os.dup2(saved, 0)
    os.close(saved)


@on_every_kernel
def test_dev_null_is_the_containers(box, kernel, null_stdin):
    """Those of fd 0 to 2 that were the host's /dev/null are the container's afterwards."""
    container = box.run(*DEV, PivotRoot(), ReopenDevNull(), kernel=kernel)
    mine = root(container, "/dev/null").stat()
    assert stdio(container) == {(mine.st_dev, mine.st_rdev)}


@on_every_kernel
@pytest.mark.parametrize(
    "kind", ["link", "link outside", "other device", "file", "missing", "fifo"]
)
def test_a_false_dev_null(box, kernel, null_stdin, kind):
    """CVE-2026-88265: a /dev/null that is none is neither opened, nor followed, nor given to the container's user."""
    dev = box.rootfs / "dev"
    dev.mkdir()
    (box.rootfs / "passwd").write_text("root")
    if kind == "link":
        (dev / "null").symlink_to("/passwd")
    elif kind == "link outside":
        (dev / "null").symlink_to("../../outside/victim")
    elif kind == "other device":
        os.mknod(dev / "null", 0o20666, os.makedev(1, 5))
    elif kind == "file":
        (dev / "null").write_text("")
    elif kind == "fifo":
        os.mkfifo(dev / "null")
    index, error, _, detail = box.fail(
        PivotRoot(), ReopenDevNull(), ChownStdio(1000), kernel=kernel
    )
    assert index == 1
    assert error == ENOENT if kind == "missing" else error == 0 and "1:3" in detail
    assert (box.rootfs / "passwd").stat().st_uid == 0 and box.untouched()


# ---- the console ----


@pytest.fixture
def console():
    """A pair of sockets: the engine's, and the one that the runtime passes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    yield ours, theirs.fileno()
    ours.close()
    theirs.close()


def master_of(ours):
    assert select.select([ours], [], [], 10)[0]
    payload, fds, _, _ = socket.recv_fds(ours, 100, 4)
    assert payload == b"/dev/ptmx" and len(fds) == 1
    return fds[0]


def test_dev_null_is_not_exchanged(box, null_stdin):
    """CVE-2026-88265: a /dev/null that is exchanged after it was looked at is not used."""
    dev = box.rootfs / "dev"
    dev.mkdir()
    os.mknod(dev / "null", 0o20666, os.makedev(1, 3))
    os.mknod(dev / "zero", 0o20666, os.makedev(1, 5))
    openat = {"x86_64": 257, "aarch64": 56}[os.uname().machine]
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    container = box.start(PivotRoot(), *pause_at(openat, 2, flags), ReopenDevNull())
    with paused(container):
        os.rename(dev / "zero", dev / "null")
    message = container.expect(ERROR)
    assert message.error == 0 and "1:3" in message.detail


@on_every_kernel
@pytest.mark.parametrize("user", [False, True])
def test_console(box, kernel, user, console):
    """The engine gets the master; the peer is fd 0 to 2, the controlling terminal, and /dev/console."""
    ours, theirs = console
    devices = [PTS[0], *PTS[2:]]
    steps = [*devices, NewSession(), PivotRoot(), MakeConsole("console", rows=30, columns=100)]
    container = box.run(*steps, kernel=kernel, user=user, console=theirs)
    master = master_of(ours)
    assert [os.readlink(f"/proc/{container.pid}/fd/{fd}") for fd in range(3)] == ["/dev/pts/0"] * 3
    assert struct.unpack("HHHH", fcntl.ioctl(master, termios.TIOCGWINSZ, bytes(8)))[:2] == (30, 100)
    peer, bound = root(container, "/dev/pts/0").stat(), root(container, "/dev/console").stat()
    assert (peer.st_rdev, peer.st_dev, peer.st_ino) == (bound.st_rdev, bound.st_dev, bound.st_ino)
    fields = Path(f"/proc/{container.pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(fields[4]) == os.makedev(136, 0)
    os.write(os.open(f"/proc/{container.pid}/root/dev/console", os.O_RDWR | os.O_NOCTTY), b"hello")
    assert os.read(master, 100) == b"hello"
    os.close(master)


@on_every_kernel
@pytest.mark.parametrize("kind", ["link", "link outside", "link to pts", "directory"])
def test_a_console_that_leads_elsewhere(box, kernel, console, kind):
    """CVE-2026-88264, CVE-2025-52565: /dev/console is never bound on what a link leads to."""
    _, theirs = console
    (box.rootfs / "dev" / "pts").mkdir(parents=True)
    (box.rootfs / "etc").mkdir()
    (box.rootfs / "etc" / "x").write_text("x")
    place = box.rootfs / "dev" / "console"
    if kind == "directory":
        place.mkdir()
    else:
        place.symlink_to(
            {"link": "/etc/x", "link outside": "../../outside/victim", "link to pts": "pts/0"}[kind]
        )
    steps = [
        Mount("devpts", "devpts", "/dev/pts", options="newinstance,ptmxmode=0666"),
        SetAttributes("/", 1),
    ]
    steps += [NewSession(), PivotRoot(), MakeConsole("console")]
    index, error, _, _ = box.fail(*steps, kernel=kernel, console=theirs)
    assert index == 4 and error == (EINVAL if kind == "directory" else ELOOP)
    assert (box.rootfs / "etc" / "x").read_text() == "x" and box.untouched()


@on_every_kernel
@pytest.mark.parametrize("dev", ["link", "pts link", "fake", "another device", "missing"])
def test_a_false_devpts(box, kernel, console, dev):
    """A /dev/pts/ptmx that is not a devpts' own, or is reached by a link, is not opened."""
    _, theirs = console
    steps = [Mount("devpts", "devpts", "/real/pts", options="newinstance,ptmxmode=0666")]
    if dev == "link":
        (box.rootfs / "dev").symlink_to("real")
    elif dev == "pts link":
        steps.append(Symlink("../real/pts", "/dev/pts"))
    elif dev == "fake":
        steps += [Mkdir("/dev/pts"), MakeDevice("/dev/pts/ptmx", 0o20000, 5, 2)]
    elif dev == "another device":
        steps += [Mkdir("/dev/pts"), Bind("/dev/tty", "/dev/pts/ptmx")]
    steps += [NewSession(), PivotRoot(), MakeConsole("console")]
    index, error, _, _ = box.fail(*steps, kernel=kernel, console=theirs)
    assert index == len(steps) - 1
    assert error == {"link": ELOOP, "pts link": ELOOP, "missing": ENOENT}.get(dev, 0)


def test_a_terminal_for_exec(box, console, spawn):
    """In exec the terminal is the container's too, and nothing is bound."""
    ours, theirs = console
    container = box.run(PROC, *PTS, PivotRoot(), kinds=NEWPID)
    before = mounts(container.pid)
    pidfd = os.pidfd_open(container.pid)
    plan = [
        JoinNamespaces("process", container.pid, 0x20000 | NEWPID), Clone(), NewSession(),
        MakeConsole("console", mount=False), PassBaton(1),
    ]  # fmt: skip
    inside = spawn(plan, process=pidfd, console=theirs)
    os.close(pidfd)
    inside.cloned()
    inside.expect(PASS)
    master = master_of(ours)
    assert os.readlink(f"/proc/{inside.pid}/fd/0") == "/dev/pts/0"
    os.close(master)
    assert mounts(container.pid) == before


# ---- sysctls and labels ----


def forwarding(container):
    """Whether net.ipv4.ip_forward is 1 in the container's network namespace."""
    return Path(f"/proc/{container.pid}/net/snmp").read_text().split("Ip:")[2].split()[0] == "1"


@on_every_kernel
def test_sysctls(box, kernel):
    """Sysctls are written in the container's namespaces; a path that is none is refused before anything is opened."""
    steps = [PivotRoot(), SetSysctl("net/ipv4/ip_forward", "1"), SetSysctl("kernel/msgmax", "4321")]
    container = box.run(*steps, kinds=NEWNET | NEWIPC | NEWPID, kernel=kernel)
    assert forwarding(container)

    def failure(path, value):
        return box.fail(PivotRoot(), SetSysctl(path, value), kinds=NEWNET, kernel=kernel)[1:]

    assert failure("net/nothing", "1") == (ENOENT, "open", "sys/net/nothing")
    assert failure("net/ipv4/ip_forward", "x")[:2] == (EINVAL, "write")
    for path in (
        "../sysrq-trigger",
        "net/../../sysrq-trigger",
        "",
        "/net/ipv4/ip_forward",
        "net//x",
        "net/./x",
        "net/",
    ):
        assert failure(path, "1") == (EINVAL, "", "not the path of a sysctl")


@on_every_kernel
@pytest.mark.parametrize("false", ["fake", "bound", "link"])
def test_a_false_proc(box, kernel, false):
    """CVE-2025-52881, CVE-2019-16884, CVE-2019-19921: a /proc that is none, or has files bound over, is not written to."""
    for path in ("fake/sys/net/ipv4", "fake/self/attr", "proc"):
        (box.rootfs / path).mkdir(parents=True)
    for path in ("fake/sys/net/ipv4/ip_forward", "fake/self/attr/current", "decoy"):
        (box.rootfs / path).write_text("")
    if false == "fake":
        steps = [Bind(str(box.rootfs / "fake"), "/proc")]
    elif false == "bound":
        steps = [PROC, Bind(str(box.rootfs / "decoy"), "/proc/sys/net/ipv4/ip_forward")]
    else:
        (box.rootfs / "proc").rmdir()
        (box.rootfs / "proc").symlink_to("fake")
        steps = []
    container = box.run(
        *steps,
        PivotRoot(),
        SetSysctl("net/ipv4/ip_forward", "1"),
        kinds=NEWNET | NEWPID,
        kernel=kernel,
    )
    assert forwarding(container)
    assert (box.rootfs / "decoy").read_text() == ""
    assert (box.rootfs / "fake" / "sys" / "net" / "ipv4" / "ip_forward").read_text() == ""


def test_proc_of_a_user_namespace(box):
    """Where no procfs of our own can be made, the container's is used only when nothing was mounted over the file."""
    # Without a pid namespace of its own.
    steps = [Bind("/proc", "/proc"), PivotRoot(), ReadonlyPath("/proc/bus")]
    sysctl = SetSysctl("net/ipv4/ip_forward", "1")
    container = box.run(*steps, sysctl, kinds=NEWNET, user=True)
    assert forwarding(container)
    index, error, _, _ = box.fail(
        *steps, ReadonlyPath("/proc/sys/net"), sysctl, kinds=NEWNET, user=True
    )
    assert (index, error) == (4, EXDEV)


@on_every_kernel
def test_labels(box, kernel):
    """A label goes to the process's own attribute; without such a security module that is said."""
    index, error, _, _ = box.fail(
        PivotRoot(), SetExecLabel("apparmor/exec", "exec none"), kernel=kernel
    )
    assert index == 1 and error in (ENOENT, EINVAL, EACCES)
    assert box.fail(PivotRoot(), SetExecLabel("../oom_score_adj", "5"), kernel=kernel)[1] == EINVAL


# ---- the working directory ----


@on_every_kernel
def test_chdir(box, kernel):
    """The working directory is changed, inside the root; one that is missing or none is an error."""
    (box.rootfs / "a" / "b").mkdir(parents=True)
    (box.rootfs / "link").symlink_to("/a/b")
    (box.rootfs / "file").write_text("")
    container = box.run(PivotRoot(), Chdir("/link/.."), kernel=kernel)
    assert os.readlink(f"/proc/{container.pid}/cwd") == "/a"
    assert box.fail(PivotRoot(), Chdir("/missing"), kernel=kernel)[1:] == (
        ENOENT,
        "chdir",
        "/missing",
    )
    assert box.fail(PivotRoot(), Chdir("/file"), kernel=kernel)[1] == ENOTDIR
    assert box.fail(PivotRoot(), Chdir("a"), kernel=kernel)[1] == EINVAL


@on_every_kernel
def test_chdir_as_the_user(box, kernel):
    """What root may not enter yet is tried again as the user; what succeeded once is not repeated."""
    (box.rootfs / "closed").mkdir(mode=0o700)
    os.chown(box.rootfs / "closed", 1000, 1000)
    user = [SetGid(1000), SetUid(1000)]
    box.run(PivotRoot(), Chdir("/closed", tolerate=True), *user, Chdir("/closed"), kernel=kernel)
    other = [SetGid(1001), SetUid(1001)]
    container = box.run(PivotRoot(), Chdir("/closed"), *other, Chdir("/closed"), kernel=kernel)
    assert os.readlink(f"/proc/{container.pid}/cwd") == "/closed"
    steps = [PivotRoot(), *other, Chdir("/closed", tolerate=True), Chdir("/closed")]
    assert box.fail(*steps, kernel=kernel)[:3] == (4, EACCES, "chdir")


@on_every_kernel
@pytest.mark.parametrize(
    "step", [PivotRoot(), MoveRoot(), ChangeRoot()], ids=["pivot", "move", "chroot"]
)
@pytest.mark.parametrize("rest", ["", "/.", "/dev", "/.."])
def test_chdir_never_leaves_the_root(box, kernel, step, rest):
    """CVE-2024-21626: no descriptor's link as working directory leads out of the root, though one of the host is open."""
    follows = kernel in ("without openat2", "4.18")
    leaked = os.open(box.outside, os.O_RDONLY)
    refused = []
    first = [OpenRootfs(str(box.rootfs))] if isinstance(step, ChangeRoot) else None
    for number in range(3, 14):
        chdir = Chdir(f"/proc/self/fd/{number}{rest}")
        # The last step is never executed: it is there so that the descriptor is passed.
        plan = [PROC, step, chdir, PassBaton(1), Bind("x", "/y", tree="leaked")]
        container = box.start(*plan, kinds=NEWPID, kernel=kernel, first=first, leaked=leaked)
        message = container.receive()
        if message.kind == PASS:
            assert follows and os.path.samestat(
                os.stat(f"/proc/{container.pid}/cwd"), box.rootfs.stat()
            )
        else:
            assert message.kind == ERROR and message.step == box.skipped + 2
            refused.append(message.detail)
    os.close(leaked)
    # The host's was among them: with openat2(2) not even looked at, without it found to lie outside.
    outside = "the working directory lies outside of the container's root"
    assert (outside in refused) == follows


def test_waiting_for_start_keeps_no_procfs(box):
    """A container that waits for start holds no procfs without masks, which an exec could get at."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(box.folder / "start"))
    listener.listen()
    steps = [
        PROC,
        PivotRoot(),
        SetSysctl("net/ipv4/ip_forward", "1"),
        PassBaton(1),
        AwaitStart("start"),
    ]
    container = box.start(*steps, kinds=NEWNET | NEWPID, start=listener.fileno())
    container.expect(PASS)

    def procfs():
        folder = f"/proc/{container.pid}/fd"
        return [fd for fd in os.listdir(folder) if os.path.exists(f"{folder}/{fd}/version")]

    assert procfs() != []
    container.go()
    assert container.receive() is None
    assert procfs() == []
    listener.close()
