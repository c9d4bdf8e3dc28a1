"""Steps that build the rootfs: mounts, binds, directories, files, links, devices, on the real kernel."""

from __future__ import annotations

import ctypes
import os
import stat
import threading
from pathlib import Path

import pytest
from baton import ERROR, PASS
from box import (
    FIRST_ID,
    KERNELS,
    MS_NODEV,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NOATIME,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    mounts,
    pause_at,
    paused,
    refuse_calls,
)  # fmt: skip
from conftest import needs_root

from ocifw.steps import (
    BecomeRoot,
    Bind,
    BindInside,
    BindRootfs,
    Clone,
    Execute,
    FindHome,
    JoinNamespace,
    LoadFilter,
    MakeDevice,
    Mkdir,
    Mount,
    OpenRootfs,
    PassBaton,
    PivotRoot,
    Remount,
    SetAttributes,
    SetHostPropagation,
    SetPropagation,
    SetUmask,
    SetXattr,
    Symlink,
    WriteFile,
)  # fmt: skip

pytestmark = needs_root
ENOENT, EEXIST, ENODEV, ENOTDIR, EINVAL, ELOOP, EPERM = 2, 17, 19, 20, 22, 40, 1
on_every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def tmpfs(target, **more):
    return Mount("tmpfs", "tmpfs", target, **more)


# ---- the rootfs ----


@on_every_kernel
def test_rootfs_is_a_mount_of_its_own(box, kernel):
    """BindRootfs makes the rootfs a private mount, with what is mounted below it, and its parent private."""
    container = box.run(kernel=kernel)
    rootfs = box.mounted(container, "")
    assert rootfs.optional == []
    assert all(m.point != str(box.rootfs) for m in mounts("self"))


@on_every_kernel
def test_the_mount_around_the_rootfs_becomes_private(box, kernel):
    """Where the host's mounts stay shared, the one that holds the rootfs does not: nothing gets out of it."""
    container = box.run(
        first=[SetHostPropagation(MS_SHARED | MS_REC), BindRootfs(str(box.rootfs))], kernel=kernel
    )
    seen = mounts(container.pid)
    assert any(m.optional for m in seen)
    holder = max(
        (m for m in seen if str(box.folder).startswith(m.point)), key=lambda m: len(m.point)
    )
    assert holder.optional == [] and box.mounted(container, "").optional == []


def test_a_rootfs_that_is_none(box):
    """A rootfs that is missing or no directory is named."""
    assert box.fail(first=[BindRootfs("/nonexistent")])[1:] == (ENOENT, "open", "/nonexistent")
    assert box.fail(first=[OpenRootfs("/etc/passwd")])[1:] == (ENOTDIR, "open", "/etc/passwd")


@pytest.mark.parametrize("step", [
    tmpfs("/x"), Mkdir("/x"), WriteFile("/x", b""), Symlink("a", "/x"), Bind("/etc", "/x"), BindInside("/etc", "/x"),
    MakeDevice("/x", 0o20000, 1, 3), Remount("/", MS_RDONLY), SetAttributes("/", RDONLY), SetPropagation("/", MS_SLAVE),
    PivotRoot(),
])  # fmt: skip
def test_nothing_is_done_without_a_rootfs(box, step):
    """Without a rootfs, no step takes the host's root for one."""
    assert box.fail(step, first=[]) == (0, 0, "", "no step has opened the rootfs")


def test_an_opened_rootfs_is_no_mount(box):
    """OpenRootfs mounts nothing."""
    container = box.run(Mkdir("/x"), first=[OpenRootfs(str(box.rootfs))])
    assert box.mounted(container, "") is None
    assert (box.rootfs / "x").is_dir()


# ---- new filesystems ----


@on_every_kernel
@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize(("step", "kinds"), [
    (tmpfs("/m", options="size=64k,mode=1777"), 0),
    (Mount("proc", "proc", "/m", real_directory=True), NEWPID),
    (Mount("sysfs", "sysfs", "/m", attributes=RDONLY | NOSUID), NEWNET),
    (Mount("mqueue", "mqueue", "/m"), NEWIPC),
    (Mount("devpts", "devpts", "/m", options="newinstance,ptmxmode=0666,mode=0620,gid=5"), 0),
])  # fmt: skip
def test_filesystems(box, kernel, user, step, kinds):
    """The filesystems every container has are mounted on a target that is made, also in a user namespace."""
    container = box.run(step, kernel=kernel, user=user, kinds=kinds)
    seen = box.mounted(container, "/m")
    assert (seen.fstype, seen.source) == (step.fstype, step.source)
    assert (box.rootfs / "m").stat().st_mode & 0o7777 == 0o755


@on_every_kernel
def test_cgroups(box, kernel):
    """An existing cgroup hierarchy and the unified one can be mounted."""
    if not any(m.fstype == "cgroup" and "pids" in m.superblock for m in mounts("self")):
        pytest.skip("needs the pids hierarchy of cgroup v1")
    container = box.run(
        Mount("cgroup", "cgroup", "/v1", options="pids", attributes=NOSUID | NODEV | NOEXEC),
        Mount("cgroup2", "cgroup2", "/v2", attributes=RDONLY), kernel=kernel,
    )  # fmt: skip
    assert "pids" in box.mounted(container, "/v1").superblock
    assert box.mounted(container, "/v2").fstype == "cgroup2"
    # Read-only is this mount, not the filesystem that the host uses too.
    assert (
        "ro" in box.mounted(container, "/v2").options
        and "rw" in box.mounted(container, "/v2").superblock
    )


@on_every_kernel
@pytest.mark.parametrize("layers", [2, 12])
def test_overlay(box, kernel, layers):
    """Overlay takes layers whose names are longer than fsconfig(2) takes values."""
    for number in range(layers):
        (box.folder / f"layer-{number}").mkdir()
        (box.folder / f"layer-{number}" / f"file-{number}").write_text("")
    for name in ("upper", "work"):
        (box.folder / name).mkdir()
    lower = ":".join(str(box.folder / f"layer-{number}") for number in range(layers))
    options = f"lowerdir={lower},upperdir={box.folder}/upper,workdir={box.folder}/work"
    container = box.start(Mount("overlay", "overlay", "/m", options=options), kernel=kernel)
    message = container.receive()
    if message.kind == ERROR and message.error == ENODEV:
        pytest.skip("needs overlayfs")
    assert message.kind == PASS, message
    assert len(os.listdir(box.inside(container, "/m"))) == layers


@on_every_kernel
def test_flags_and_attributes(box, kernel):
    """Superblock flags are the filesystem's, attributes the mount's; all_set and all_clear change the attributes."""
    container = box.run(
        tmpfs("/m", superblock=MS_RDONLY | 0x10, attributes=NOSUID | NODEV | NOATIME),
        tmpfs("/n", attributes=NOSUID | RDONLY | NOATIME, all_set=NOEXEC, all_clear=NOSUID | NOATIME), kernel=kernel,
    )  # fmt: skip
    seen = box.mounted(container, "/m")
    assert {"ro", "sync"} <= seen.superblock
    assert {"nosuid", "nodev", "noatime"} <= seen.options and "noexec" not in seen.options
    seen = box.mounted(container, "/n")
    assert seen.options == {"ro", "noexec", "relatime"} and "rw" in seen.superblock


@on_every_kernel
def test_refused_filesystems(box, kernel):
    """An unknown type gives ENODEV, an unknown option EINVAL, with what the kernel says where it says anything."""
    assert box.fail(Mount("nosuchfs", "x", "/m"), kernel=kernel)[1] == ENODEV
    _, error, _, detail = box.fail(tmpfs("/m", options="nonsense=1"), kernel=kernel)
    assert error == EINVAL
    assert detail == "tmpfs" if kernel in ("4.18", "without fsopen") else "nonsense" in detail
    _, error, _, detail = box.fail(tmpfs("/m", options="size=1," * 700), kernel=kernel)
    assert (error, detail) == (EINVAL, "options longer than 4095 bytes")


@on_every_kernel
def test_copy_mode(box, kernel):
    """copy_mode takes over the mode of a directory that is covered, unless the options name one or it was missing."""
    (box.rootfs / "old").mkdir()
    (box.rootfs / "old").chmod(0o1750)
    container = box.run(
        tmpfs("/old", copy_mode=True),
        tmpfs("/new", copy_mode=True, options="size=64k"),
        kernel=kernel,
    )
    assert box.inside(container, "/old").stat().st_mode & 0o7777 == 0o1750
    assert box.inside(container, "/new").stat().st_mode & 0o7777 == 0o1777
    container = box.run(tmpfs("/old", copy_mode=True, options="size=64k,mode=700"), kernel=kernel)
    assert box.inside(container, "/old").stat().st_mode & 0o7777 == 0o700


def fill(folder, victim):
    """A directory with something of every kind in it."""
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "empty").mkdir(mode=0o700)
    (folder / "a" / "file").write_bytes(b"x" * 100000)
    (folder / "a" / "b" / "setuid").write_text("s")
    os.chown(folder / "a" / "b" / "setuid", 12, 34)
    (folder / "a" / "b" / "setuid").chmod(0o4755)
    (folder / "link").symlink_to(victim)
    (folder / "a" / "out").symlink_to("../../../outside")
    os.mkfifo(folder / "fifo", 0o640)
    os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    for number in range(200):
        (folder / "a" / "b" / f"many-{number}").mkdir()
        (folder / "a" / "b" / f"many-{number}" / "x").write_text(str(number))
    for path in (folder / "a" / "file", folder / "a" / "b", folder / "a"):
        os.utime(path, (1000, 2000))


def content(folder):
    """Names, modes, owners, times of modification, contents below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        text = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        text = os.readlink(path).encode() if path.is_symlink() else text
        found[str(path.relative_to(folder))] = (
            info.st_mode, info.st_uid, info.st_gid, info.st_rdev, info.st_mtime_ns, text,
        )  # fmt: skip
    return found


@on_every_kernel
def test_copy_up(box, kernel):
    """copy_up copies what is covered, with owner, mode and times; links are copied, not followed."""
    (box.rootfs / "d").mkdir()
    fill(box.rootfs / "d", box.outside / "victim")
    expected = content(box.rootfs / "d")
    container = box.run(tmpfs("/d", copy_up=True), kernel=kernel)
    assert box.mounted(container, "/d").fstype == "tmpfs"
    assert content(box.inside(container, "/d")) == expected
    assert box.untouched()


def test_copy_up_ends(box):
    """A directory deeper than the limit, and one that does not fit, fail; nothing is copied without end."""
    (box.rootfs / "deep" / "/".join(["d"] * 150)).mkdir(parents=True)
    (box.rootfs / "big").mkdir()
    (box.rootfs / "big" / "file").write_bytes(bytes(1 << 20))
    assert box.fail(tmpfs("/deep", copy_up=True))[1] == ELOOP
    assert box.fail(tmpfs("/big", copy_up=True, options="size=64k"))[1:] == (28, "copy", "file")


# ---- where targets lead ----


@on_every_kernel
@pytest.mark.parametrize(
    "link", ["/real", "../../../../real", "real", "/x/../real", "/./real//", "/x/y/../../real"]
)
def test_links_are_resolved_inside(box, kernel, link):
    """A link in the image means what it means in the container, absolute or with any number of `..`."""
    for name in ("real", "x/y"):
        (box.rootfs / name).mkdir(parents=True)
    (box.rootfs / "link").symlink_to(link)
    container = box.run(tmpfs("/link/sub"), kernel=kernel)
    assert box.mounted(container, "/real/sub").fstype == "tmpfs"
    assert os.listdir(box.rootfs / "real") == ["sub"]


@on_every_kernel
def test_dangling_links_are_made_inside(box, kernel):
    """A link whose target is missing, as /etc/resolv.conf often is one, gets it, inside the rootfs."""
    (box.rootfs / "etc").mkdir()
    (box.rootfs / "etc" / "resolv.conf").symlink_to("../run/resolve/stub.conf")
    (box.rootfs / "etc" / "mnt").symlink_to("/../../missing/dir")
    container = box.run(
        Bind("/etc/passwd", "/etc/resolv.conf"), Bind("/etc", "/etc/mnt"), kernel=kernel
    )
    assert (
        box.inside(container, "/run/resolve/stub.conf").read_text()
        == Path("/etc/passwd").read_text()
    )
    assert box.mounted(container, "/missing/dir") is not None
    assert (box.rootfs / "run" / "resolve" / "stub.conf").stat().st_size == 0


@on_every_kernel
@pytest.mark.parametrize("step", [
    tmpfs("/dev"), tmpfs("/dev/shm"), tmpfs("/dev", copy_up=True, copy_mode=True), Bind("/etc", "/dev/x"),
    Bind("/etc/passwd", "/dev/victim"), Mkdir("/dev/pts"), WriteFile("/dev/victim", b"overwritten"),
    Symlink("pts/ptmx", "/dev/ptmx", replace=True), MakeDevice("/dev/null", 0o20000, 1, 3),
    MakeDevice("/dev/null", 0o20000, 1, 3, source="/dev/null", bind=True), BindInside("/dev", "/elsewhere"),
], ids=lambda step: type(step).__name__)  # fmt: skip
@pytest.mark.parametrize(
    "link", ["../outside", "../../../../../../../../../../{}/outside", "{}/outside"]
)
def test_dev_that_leads_outside(box, kernel, step, link):
    """CVE-2026-41579, CVE-2026-47766: an image whose /dev is a link to the host changes nothing there."""
    (box.rootfs / "dev").symlink_to(
        link.format(str(box.folder).lstrip("/") if ".." in link else box.folder)
    )
    container = box.start(step, kernel=kernel)
    message = container.receive()
    # There is nothing to bind inside; all others make what they need below the rootfs.
    assert message.kind == (ERROR if isinstance(step, BindInside) else PASS), message
    assert box.untouched()
    if message.kind == PASS:
        points = [m.point for m in mounts(container.pid)]
        assert [p for p in points if p.startswith(str(box.outside))] == []


@on_every_kernel
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_must_be_directories(box, kernel, name):
    """CVE-2025-54867, CVE-2023-27561, CVE-2023-28642, CVE-2019-19921: real_directory refuses any link on the way."""
    (box.rootfs / "real").mkdir()
    (box.rootfs / name).symlink_to("real")
    for target in (f"/{name}", f"/{name}/sub"):
        index, error, _, detail = box.fail(
            Mount("tmpfs", "tmpfs", target, real_directory=True), kernel=kernel
        )
        assert (index, error) == (0, ELOOP) and "ordinary directory" in detail
    assert box.fail(Bind("/etc", f"/{name}", real_directory=True), kernel=kernel)[1] == ELOOP
    (box.rootfs / "file").write_text("")
    assert (
        box.fail(Mount("tmpfs", "tmpfs", "/file", real_directory=True), kernel=kernel)[1] == ENOTDIR
    )


@on_every_kernel
@pytest.mark.parametrize("target", ["/", "", ".", "/..", "//", "/x/..", "/link"])
def test_the_rootfs_is_not_covered(box, kernel, target):
    """Nothing is mounted on the rootfs itself, however it is spelled."""
    (box.rootfs / "x").mkdir()
    (box.rootfs / "link").symlink_to("/")
    for step in (tmpfs(target), Bind("/etc", target), BindInside("/x", target)):
        assert box.fail(step, kernel=kernel)[1] == (EINVAL if target else ENOENT)


@on_every_kernel
def test_links_into_proc(box, kernel):
    """Under another name, nothing is mounted in the container's /proc: what may be there is decided by name."""
    proc = Mount("proc", "proc", "/proc", real_directory=True)
    (box.rootfs / "link").symlink_to("/proc")
    reason = "it leads into /proc, where nothing may be mounted under another name"
    for target in ("/link", "/link/sys", "/link/bus"):
        for step in (tmpfs(target), Bind("/etc", target)):
            failed = box.fail(proc, step, kernel=kernel, kinds=NEWPID)
            assert failed == (1, EINVAL, "", reason), step
    box.run(proc, Bind("/proc/stat", "/proc/stat"), kernel=kernel, kinds=NEWPID)
    # Another procfs, such as the host's in a volume, is not the container's.
    box.run(proc, Bind("/proc", "/host"), tmpfs("/host/sys"), kernel=kernel, kinds=NEWPID)


@on_every_kernel
def test_links_without_end(box, kernel):
    """A circle of links is an error."""
    (box.rootfs / "a").symlink_to("b")
    (box.rootfs / "b").symlink_to("a")
    assert box.fail(Mkdir("/a/x"), kernel=kernel)[1] == ELOOP
    assert box.fail(Mkdir("/" + "n" * 256), kernel=kernel)[1] == 36
    assert box.fail(Mkdir("/x" * 2100), kernel=kernel)[1] == 36


@on_every_kernel
def test_magic_links_lead_nowhere(box, kernel):
    """A link of procfs that leads out of the rootfs, as /proc/1/root or a descriptor's, is not followed."""
    steps = [Mount("proc", "proc", "/proc"), Mkdir(f"/proc/self/root{box.outside}/made")]
    container = box.start(*steps, kinds=NEWPID, kernel=kernel)
    container.receive()
    assert box.untouched()


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["new", "4.18"])
def test_racing_renames(box, kernel):
    """CVE-2021-30465, CVE-2024-45310: a directory exchanged with a link all the time never leads outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    (box.rootfs / "volume" / "dir" / "sub").mkdir(parents=True)
    (box.rootfs / "volume" / "link").symlink_to("../../outside")
    one, two = (str(box.rootfs / "volume" / name).encode() for name in ("dir", "link"))
    stop = threading.Event()

    def exchange():
        while not stop.is_set():
            libc.renameat2(-100, one, -100, two, 2)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(15):
            steps = [
                tmpfs("/volume/dir/sub"),
                Mkdir("/volume/dir/x/y"),
                tmpfs("/volume/dir/../dir/z"),
            ]
            container = box.start(*steps, kernel=kernel)
            if container.receive().kind == PASS:
                points = [m.point for m in mounts(container.pid)]
                assert [p for p in points if p.startswith(str(box.outside))] == []
            container.close()
            container.wait()
    finally:
        stop.set()
        thread.join()
    assert box.untouched()


@pytest.mark.parametrize(
    "step",
    [
        kind("/volume/dir/sub")
        for kind in (tmpfs, lambda to: Bind("/etc", to), lambda to: BindInside("/x", to))
    ],
)
def test_a_target_that_was_moved_meanwhile(box, step):
    """CVE-2021-30465: when the path does not lead to the mount that was made, the container is not."""
    (box.rootfs / "volume" / "dir" / "sub").mkdir(parents=True)
    (box.rootfs / "x").mkdir()
    move_mount, flags = 429, 0x44
    for change in ("another directory", "a link outside", "nothing"):
        container = box.start(*pause_at(move_mount, 4, flags), step)
        with paused(container):
            (box.rootfs / "volume" / "dir").rename(box.rootfs / "volume" / "moved")
            if change == "another directory":
                (box.rootfs / "volume" / "dir" / "sub").mkdir(parents=True)
            elif change == "a link outside":
                (box.rootfs / "volume" / "dir").symlink_to("../../outside")
        message = container.expect(ERROR)
        assert message.call in ("verify", "open"), message
        assert container.wait() == 1
        if change == "another directory":
            (box.rootfs / "volume" / "dir" / "sub").rmdir()
            (box.rootfs / "volume" / "dir").rmdir()
        elif change == "a link outside":
            (box.rootfs / "volume" / "dir").unlink()
        (box.rootfs / "volume" / "moved").rename(box.rootfs / "volume" / "dir")
    assert box.untouched()


# ---- binds ----


@pytest.fixture
def source(box):
    """A directory with a file, and one more mount below it."""
    folder = box.folder / "source"
    (folder / "below").mkdir(parents=True)
    (folder / "file").write_text("content")
    return folder


@on_every_kernel
def test_bind(box, source, kernel):
    """Files are bound on files and directories on directories; what is missing is made, with parents."""
    steps = [Bind(str(source), "/a/dir"), Bind(str(source / "file"), "/b/file")]
    container = box.run(*steps, kernel=kernel)
    assert box.inside(container, "/a/dir/file").read_text() == "content"
    assert box.inside(container, "/b/file").read_text() == "content"
    assert (box.rootfs / "b" / "file").stat().st_mode == 0o100644
    assert (box.rootfs / "b").stat().st_mode & 0o7777 == 0o755


@on_every_kernel
def test_bind_of_another_kind(box, source, kernel):
    """A directory on a file, a file on a directory, and a missing source are errors."""
    (box.rootfs / "file").write_text("")
    assert box.fail(Bind(str(source), "/file"), kernel=kernel)[1] == ENOTDIR
    (box.rootfs / "dir").mkdir()
    assert box.fail(Bind(str(source / "file"), "/dir"), kernel=kernel)[1] == ENOTDIR
    missing = str(source / "missing")
    assert box.fail(Bind(missing, "/x"), kernel=kernel) == (0, ENOENT, "open", missing)
    assert not (box.rootfs / "x").exists()


@on_every_kernel
def test_bind_attributes(box, source, kernel):
    """Attributes are set and cleared on the bind only; those not named stay."""
    steps = [
        tmpfs("/t", attributes=NOSUID | NODEV | NOATIME),
        Bind(f"{box.rootfs}/t", "/a", read_only=True, set=NOEXEC, clear=NODEV),
        Bind(f"{box.rootfs}/t", "/b", set=0, clear=NOATIME),
    ]
    container = box.run(*steps, kernel=kernel)
    assert box.mounted(container, "/a").options == {"ro", "nosuid", "noexec", "noatime"}
    assert box.mounted(container, "/b").options == {"rw", "nosuid", "nodev", "relatime"}
    assert box.mounted(container, "/t").options == {"rw", "nosuid", "nodev", "noatime"}


@pytest.mark.parametrize("kernel", ["new", "without openat2"])
def test_recursive_bind(box, kernel):
    """recursive takes the mounts below along; all_set and all_clear are theirs too."""
    steps = [
        tmpfs("/t"), tmpfs("/t/below", attributes=NOSUID),
        Bind(f"{box.rootfs}/t", "/a", all_set=RDONLY, all_clear=NOSUID), Bind(f"{box.rootfs}/t", "/b", recursive=False),
        Bind(f"{box.rootfs}/t", "/c", read_only=True),
    ]  # fmt: skip
    container = box.run(*steps, kernel=kernel)
    assert box.mounted(container, "/a/below").options == {"ro", "relatime"}
    assert box.mounted(container, "/b/below") is None
    assert box.mounted(container, "/c").options == {"ro", "relatime"}
    assert box.mounted(container, "/c/below").options == {"rw", "nosuid", "relatime"}


def test_recursive_attributes_need_the_kernel(box, source):
    """Where the kernel cannot change mounts recursively, asking for it is an error, not half of it."""
    step = Bind(str(source), "/a", all_set=RDONLY)
    assert box.fail(step, kernel="without mount_setattr")[:3] == (0, 38, "mount_setattr")


@pytest.mark.parametrize("kernel", ["new", "without mount_setattr"])
def test_bind_of_the_runtimes_tree(box, source, kernel):
    """A tree that the runtime opened in its own mount namespace is attached in the container's."""
    from ocifw.linux.mount import open_tree

    tree = open_tree(-100, str(source), 1 | 0o2000000)
    try:
        container = box.run(
            Bind("the source", "/a", read_only=True, tree="tree"), kernel=kernel, tree=tree
        )
    finally:
        os.close(tree)
    assert box.inside(container, "/a/file").read_text() == "content"
    assert "ro" in box.mounted(container, "/a").options


def test_bind_of_a_tree_that_is_missing(box):
    """A slot nothing was passed for is an error."""
    assert box.fail(Bind("the source", "/a", tree="tree"))[1] == 9


@pytest.mark.parametrize("kernel", ["new", "without mount_setattr", "without fsopen"])
def test_locked_flags(box, kernel):
    """In a user namespace the flags of the host's mounts stay; asking to clear one says which."""
    # A mount namespace with such a mount is copied by one with less privileges.
    host = box.run(tmpfs("/t", attributes=NOSUID | NODEV | NOEXEC))

    def copy(step):
        box.let_in()
        plan = [
            JoinNamespace(f"/proc/{host.pid}/ns/mnt", NEWNS),
            Clone(NEWNS | NEWUSER),
            PassBaton(1),
            BecomeRoot(),
        ]
        plan += [LoadFilter(refuse_calls(KERNELS[kernel]))] if KERNELS[kernel] else []
        plan += [
            SetHostPropagation(MS_SLAVE | MS_REC),
            BindRootfs(str(box.rootfs)),
            step,
            PassBaton(2),
        ]
        container = box.spawn(plan)
        container.cloned()
        container.expect(PASS)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{container.pid}/{name}").write_text(f"0 {FIRST_ID} 65536\n")
        container.go()
        return container, container.receive()

    container, message = copy(Bind(f"{box.rootfs}/t", "/a", read_only=True))
    assert message.kind == PASS, message
    assert box.mounted(container, "/a").options == {"ro", "nosuid", "nodev", "noexec", "relatime"}
    _, message = copy(Bind(f"{box.rootfs}/t", "/a", clear=NODEV | NOEXEC | RDONLY))
    assert (message.kind, message.error) == (ERROR, EPERM)
    assert message.detail == "cannot clear locked flags nodev,noexec"


@on_every_kernel
def test_bind_inside(box, kernel):
    """Source and target are resolved inside the rootfs; attributes are the bind's."""
    (box.rootfs / "a").mkdir()
    (box.rootfs / "a" / "file").write_text("inside")
    (box.rootfs / "link").symlink_to("../../a")
    steps = [BindInside("/link", "/b", set=RDONLY), BindInside("/link/file", "/c/file")]
    container = box.run(*steps, kernel=kernel)
    assert (
        box.inside(container, "/b/file").read_text()
        == box.inside(container, "/c/file").read_text()
        == "inside"
    )
    assert "ro" in box.mounted(container, "/b").options
    assert box.fail(BindInside("/nothing", "/b"), kernel=kernel)[1:] == (ENOENT, "open", "/nothing")


# ---- changing mounts ----


@on_every_kernel
def test_changing_mounts(box, kernel):
    """Remount changes the filesystem, SetAttributes the mount, SetPropagation its propagation."""
    steps = [
        tmpfs("/t", options="size=64k"), Remount("/t", MS_RDONLY | MS_NODEV, "size=128k"),
        tmpfs("/u", attributes=NOSUID), SetAttributes("/u", RDONLY, clear=NOSUID),
        tmpfs("/s"), SetPropagation("/s", MS_SHARED), tmpfs("/v"), SetPropagation("/v", MS_UNBINDABLE | MS_REC),
        SetAttributes("/", RDONLY), SetPropagation("/", MS_SLAVE | MS_REC),
    ]  # fmt: skip
    container = box.run(*steps, kernel=kernel)
    seen = box.mounted(container, "/t")
    assert {"ro", "size=128k"} <= seen.superblock and "nodev" in seen.options
    assert box.mounted(container, "/u").options == {"ro", "relatime"}
    assert (
        box.mounted(container, "/v").optional == ["unbindable"]
        or box.mounted(container, "/v").optional == []
    )
    assert "ro" in box.mounted(container, "").options


@on_every_kernel
def test_propagation(box, kernel):
    """A mount is shared when it is asked to be, and private again."""
    container = box.run(tmpfs("/s"), SetPropagation("/s", MS_SHARED), kernel=kernel)
    assert box.mounted(container, "/s").optional[0].startswith("shared:")
    steps = [tmpfs("/s"), SetPropagation("/s", MS_SHARED), SetPropagation("/s", MS_PRIVATE)]
    assert box.mounted(box.run(*steps, kernel=kernel), "/s").optional == []


@on_every_kernel
def test_what_is_no_mount_cannot_be_changed(box, kernel):
    """Changing what is no mount, or missing, is an error."""
    (box.rootfs / "d").mkdir()
    for step in (
        Remount("/d", MS_RDONLY),
        SetAttributes("/d", RDONLY),
        SetPropagation("/d", MS_SLAVE),
    ):
        assert box.fail(step, kernel=kernel)[1] == EINVAL
    for step in (Remount("/no", 1), SetAttributes("/no", 1), SetPropagation("/no", MS_SLAVE)):
        assert box.fail(step, kernel=kernel)[1] == ENOENT


# ---- directories, files, links ----


@on_every_kernel
def test_mkdir(box, kernel):
    """A directory is made with its mode, its parents with 0755, whatever the umask; one that is there is left alone."""
    (box.rootfs / "there").mkdir()
    (box.rootfs / "there").chmod(0o711)
    box.run(
        SetUmask(0o77),
        Mkdir("/a/b/c", 0o1777),
        Mkdir("/there", 0o700),
        Mkdir("e/f/", 0o750),
        kernel=kernel,
    )
    modes = [
        (box.rootfs / name).stat().st_mode & 0o7777
        for name in ("a", "a/b", "a/b/c", "there", "e", "e/f")
    ]
    assert modes == [0o755, 0o755, 0o1777, 0o711, 0o755, 0o750]
    (box.rootfs / "file").write_text("")
    assert box.fail(Mkdir("/file"), kernel=kernel)[1] == ENOTDIR
    assert box.fail(Mkdir("/file/x"), kernel=kernel)[1] == ENOTDIR


@on_every_kernel
def test_write_file(box, kernel):
    """A regular file is made or overwritten; anything else under that name is left alone and an error."""
    (box.rootfs / "old").write_text("long content")
    (box.rootfs / "old").chmod(0o600)
    box.run(
        SetUmask(0o77),
        WriteFile("/a/new", b"new", 0o664),
        WriteFile("/old", b"short"),
        kernel=kernel,
    )
    assert (box.rootfs / "a" / "new").read_text() == "new"
    assert (box.rootfs / "a" / "new").stat().st_mode & 0o7777 == 0o664
    assert (box.rootfs / "old").read_text() == "short"
    assert (box.rootfs / "old").stat().st_mode & 0o7777 == 0o600
    (box.rootfs / "link").symlink_to("../outside/victim")
    (box.rootfs / "dir").mkdir()
    os.mkfifo(box.rootfs / "fifo")
    os.mknod(box.rootfs / "node", 0o20666, os.makedev(1, 3))
    for name in ("link", "dir", "fifo", "node"):
        assert box.fail(WriteFile(f"/{name}", b"x"), kernel=kernel)[1] == EEXIST
    for name in ("/", "/..", "/x/.", ""):
        assert box.fail(WriteFile(name, b"x"), kernel=kernel)[1] == EINVAL
    assert box.untouched()


def test_set_xattr(box):
    """SetXattr sets the attribute of what is inside, not of what an image's link names on the host."""
    (box.rootfs / "link").symlink_to(box.outside)
    (box.rootfs / "file").touch()
    container = box.run(
        Mkdir("/d"), SetXattr("/d", "user.a", b"x\0y"), SetXattr("/file", "user.a", b"")
    )
    assert os.getxattr(box.inside(container, "/d"), "user.a") == b"x\0y"
    assert os.getxattr(box.inside(container, "/file"), "user.a") == b""
    assert box.fail(SetXattr("/link", "user.a", b""))[1:3] == (ENOENT, "open")
    assert box.fail(MakeDevice("/p", 0o10000, 0, 0), SetXattr("/p", "user.a", b""))[1] == EINVAL
    assert box.untouched()


@on_every_kernel
def test_symlink(box, kernel):
    """A link is made; the same is fine; another thing is kept, or replaced when asked for, but not a full directory."""
    (box.rootfs / "kept").write_text("kept")
    (box.rootfs / "file").write_text("")
    (box.rootfs / "empty").mkdir()
    (box.rootfs / "same").symlink_to("target")
    (box.rootfs / "other").symlink_to("../outside/victim")
    steps = [Symlink("target", "/kept"), Symlink("/proc/self/fd", "/a/fd")]
    steps += [
        Symlink("target", f"/{name}", replace=True) for name in ("file", "empty", "same", "other")
    ]
    box.run(*steps, kernel=kernel)
    assert (box.rootfs / "kept").read_text() == "kept"
    assert os.readlink(box.rootfs / "a" / "fd") == "/proc/self/fd"
    assert {os.readlink(box.rootfs / name) for name in ("file", "empty", "same", "other")} == {
        "target"
    }
    (box.rootfs / "full" / "x").mkdir(parents=True)
    index, error, call, _ = box.fail(Symlink("target", "/full", replace=True), kernel=kernel)
    assert (index, error, call) == (0, 39, "unlink")
    assert box.untouched()


# ---- devices ----


def node(path):
    info = path.lstat()
    return info.st_mode, info.st_uid, info.st_gid, info.st_rdev


@on_every_kernel
def test_devices(box, kernel):
    """Nodes and FIFOs get kind, numbers, mode and owner, whatever the umask."""
    box.run(
        SetUmask(0o77), MakeDevice("/dev/null", 0o20000, 1, 3), MakeDevice("/dev/loop", 0o60000, 7, 300, 0o660, 1, 2),
        MakeDevice("/dev/fifo", 0o10000, 0, 0, 0o622, 3, 4), kernel=kernel,
    )  # fmt: skip
    assert node(box.rootfs / "dev" / "null") == (0o20666, 0, 0, os.makedev(1, 3))
    assert node(box.rootfs / "dev" / "loop") == (0o60660, 1, 2, os.makedev(7, 300))
    assert node(box.rootfs / "dev" / "fifo") == (0o10622, 3, 4, 0)


@on_every_kernel
def test_devices_that_are_there(box, kernel):
    """The same node is kept; another one, a file, a link to one are errors, also for binds."""
    dev = box.rootfs / "dev"
    dev.mkdir()
    os.mknod(dev / "same", 0o20600, os.makedev(1, 3))
    box.run(MakeDevice("/dev/same", 0o20000, 1, 3), kernel=kernel)
    assert node(dev / "same") == (0o20600, 0, 0, os.makedev(1, 3))
    os.mknod(dev / "other", 0o20600, os.makedev(1, 5))
    os.mknod(dev / "block", 0o60600, os.makedev(1, 3))
    (dev / "link").symlink_to("same")
    (dev / "out").symlink_to("../../outside/victim")
    for name in ("other", "block", "link", "out"):
        for more in ({}, {"source": "/dev/null", "bind": True}):
            step = MakeDevice(f"/dev/{name}", 0o20000, 1, 3, **more)
            assert box.fail(step, kernel=kernel)[1] == EEXIST, (name, more)
    (dev / "file").write_text("")
    assert box.fail(MakeDevice("/dev/file", 0o20000, 1, 3), kernel=kernel)[1] == EEXIST
    assert box.untouched()


@on_every_kernel
def test_devices_are_bound(box, kernel):
    """With bind the host's node is used, and verified; what an earlier container left is no obstacle."""
    step = MakeDevice("/dev/null", 0o20000, 1, 3, source="/dev/null", bind=True)
    for _ in range(2):
        container = box.run(step, kernel=kernel)
        assert box.inside(container, "/dev/null").stat().st_rdev == os.makedev(1, 3)
        assert (box.rootfs / "dev" / "null").is_file()
    (box.folder / "null").symlink_to("/dev/zero")
    for source in ("/dev/zero", "/etc/passwd", str(box.folder / "null")):
        step = MakeDevice("/dev/x", 0o20000, 1, 3, source=source, bind=True)
        assert box.fail(step, kernel=kernel)[1:3] == (ENODEV, "bind")
    assert box.fail(MakeDevice("/dev/x", 0o20000, 1, 3, bind=True), kernel=kernel)[1:3] == (
        EPERM,
        "mknod",
    )


@on_every_kernel
def test_devices_in_a_user_namespace(box, kernel):
    """Where mknod(2) is not allowed the host's node is bound, unless that is forbidden."""
    step = MakeDevice("/dev/null", 0o20000, 1, 3, source="/dev/null")
    container = box.run(tmpfs("/dev"), step, user=True, kernel=kernel)
    assert box.inside(container, "/dev/null").stat().st_rdev == os.makedev(1, 3)
    step = MakeDevice("/dev/null", 0o20000, 1, 3)
    assert box.fail(tmpfs("/dev"), step, user=True, kernel=kernel)[:3] == (1, EPERM, "mknod")


@pytest.mark.parametrize(
    ("kind", "major", "minor"),
    [(0o100000, 1, 3), (0o40000, 1, 3), (0o20000, 4096, 0), (0o20000, 1, 1 << 20), (0, 1, 3)],
)
def test_devices_that_are_none(box, kind, major, minor):
    """Another kind of file, and numbers the kernel does not have, are refused."""
    assert box.fail(MakeDevice("/dev/x", kind, major, minor)) == (
        0,
        EINVAL,
        "mknod",
        "kind or numbers",
    )


def home_of(box, uid=7):
    """HOME of a program that is executed after FindHome."""
    out = box.folder / "home"
    script = Execute(("/bin/sh", "-c", f'printf %s "$HOME" > {out}'), ("PATH=/bin",))
    container = box.run(FindHome(uid), PassBaton(2), script)
    container.go()
    assert container.wait() == 0
    return out.read_text()


@pytest.mark.parametrize(
    ("passwd", "home"),
    [
        ("root:x:0:0::/root:/bin/sh\nuser:x:7:7::/home/user:/bin/sh\n", "/home/user"),
        ("user:x:7:7::/first:\nother:x:7:7::/second:\n", "/first"),
        ("user:x:7:7::/no/newline", "/no/newline"),
        ("root:x:0:0::/root:/bin/sh\n", "/"),
        ("user:x:7:7::relative:/bin/sh\n", "/"),
        ("user:x:7:7\n", "/"),
        ("user:x:7\n", "/"),
        ("user:x:7x:7::/x:\nuser:x::7::/y:\n", "/"),
        ("user:x:18446744073709551623:7::/overflow:\n", "/"),
        ("a" * 5000 + ":x:7:7::/long:\n", "/long"),
        ("user:x:7:7::/" + "a" * 5000 + ":\n", "/"),
        ("user:x:7:7::/a\0b:\n", "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_home(box, passwd, home):
    """HOME is what the container's /etc/passwd says for the uid; `/` without a usable entry or file."""
    if passwd is not None:
        (box.rootfs / "etc").mkdir(exist_ok=True)
        (box.rootfs / "etc" / "passwd").write_text(passwd)
    assert home_of(box) == home


def test_home_is_not_read_from_the_host(box):
    """A link that leads outside, and a FIFO that would block, count as no file."""
    (box.rootfs / "etc").mkdir(exist_ok=True)
    (box.rootfs / "etc" / "passwd").symlink_to("../../../../../../etc/passwd")
    assert home_of(box, uid=0) == "/"
    (box.rootfs / "etc" / "passwd").unlink()
    os.mkfifo(box.rootfs / "etc" / "passwd")
    assert home_of(box) == "/"
