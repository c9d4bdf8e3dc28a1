"""Containers with a root of their own, for the tests of steps that mount and make files."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from baton import ERROR, PASS

from ocifw.steps import BecomeRoot, BindRootfs, Clone, LoadFilter, PassBaton, SetHostPropagation

NEWNS, NEWUSER, NEWPID, NEWIPC, NEWNET = 0x20000, 0x10000000, 0x20000000, 0x8000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REC, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 0x20000, 0x40000, 0x80000, 0x100000
RDONLY, NOSUID, NODEV, NOEXEC, NOATIME = 1, 2, 4, 8, 0x10
FIRST_ID = 100000

OPENAT2, MOUNT_API, SETATTR = [437], [428, 429, 430, 431, 432, 433], [442]
KERNELS = {
    "new": [],
    "without openat2": OPENAT2,
    "without mount_setattr": SETATTR,
    "without fsopen": MOUNT_API + SETATTR,
    "4.18": OPENAT2 + MOUNT_API + SETATTR,
}


def refuse_calls(numbers):
    """A filter under which these system calls give ENOSYS, as on a kernel that lacks them."""
    instructions = [(0x20, 0, 0, 0)]
    for number in numbers:
        instructions += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38)]
    instructions.append((0x06, 0, 0, 0x7FFF0000))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def pause_at(number, argument, value):
    """Steps after which this system call waits for `paused`, when the argument (from 0) has this value (32 bits)."""
    instructions = [
        (0x20, 0, 0, 0), (0x15, 0, 3, number), (0x20, 0, 0, 16 + 8 * argument), (0x15, 0, 1, value),
        (0x06, 0, 0, 0x7FC00000), (0x06, 0, 0, 0x7FFF0000),
    ]  # fmt: skip
    # SECCOMP_FILTER_FLAG_NEW_LISTENER: the listener stays among the descriptors of ocifw-init.
    program = b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)
    return LoadFilter(program, 8), PassBaton(3)


@contextlib.contextmanager
def paused(container):
    """Wait until the container is at the call of `pause_at`; it goes on when the block ends."""
    from ocifw.linux._kernel import numbers, syscall

    container.expect(PASS)
    folder = f"/proc/{container.pid}/fd"
    (fd,) = [int(fd) for fd in os.listdir(folder) if "seccomp" in os.readlink(f"{folder}/{fd}")]
    pidfd = os.pidfd_open(container.pid)
    listener = syscall(numbers.get("pidfd_getfd", 438), pidfd, fd, 0)
    os.close(pidfd)
    container.go()
    try:
        assert select.select([listener], [], [], 10)[0], "the call was never made"
        notice = bytearray(80)
        fcntl.ioctl(listener, 0xC0502100, notice)
        yield
        (cookie,) = struct.unpack_from("<Q", notice)
        fcntl.ioctl(listener, 0xC0182101, struct.pack("<QqiI", cookie, 0, 0, 1))
    finally:
        os.close(listener)


class Seen(NamedTuple):
    """A mount as mountinfo shows it."""

    root: str
    point: str
    options: set[str]
    optional: list[str]
    fstype: str
    source: str
    superblock: set[str]


def unescape(text):
    return text.encode().decode("unicode_escape")


def mounts(pid):
    """The mounts of a process, in order."""
    seen = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        _, _, _, root, point, options, *optional = left.split(" ")
        fstype, source, superblock = right.split(" ")
        seen.append(
            Seen(
                root,
                unescape(point),
                set(options.split(",")),
                optional,
                fstype,
                source,
                set(superblock.split(",")),
            )
        )
    return seen


def snapshot(folder):
    """Everything in a folder: names, kinds, modes, owners, contents."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else None
        found[str(path)] = (info.st_mode, info.st_uid, info.st_gid, info.st_rdev, content)
    return found


class Box:
    """A folder with an image in `rootfs`, and `outside`, which nothing in a container may touch."""

    def __init__(self, spawn, folder):
        self.spawn = spawn
        self.folder = folder
        self.rootfs = folder / "rootfs"
        self.outside = folder / "outside"
        for path in (self.rootfs, self.outside / "dev"):
            path.mkdir(parents=True)
        (self.outside / "victim").write_text("precious")
        (self.outside / "dev" / "ptmx").write_text("precious")
        self.before = snapshot(self.outside)

    def start(self, *steps, kernel="new", kinds=NEWNS, user=False, first=None, **fds):
        """Start a container that executes `steps` below the rootfs, and then waits for the baton."""
        plan = [Clone(kinds | NEWNS | (NEWUSER if user else 0)), PassBaton(1)]
        if user:
            plan.append(BecomeRoot())
        if KERNELS[kernel]:
            plan.append(LoadFilter(refuse_calls(KERNELS[kernel])))
        if first is None:
            first = [SetHostPropagation(MS_SLAVE | MS_REC), BindRootfs(str(self.rootfs))]
        self.skipped = len(plan) + len(first)
        container = self.spawn([*plan, *first, *steps, PassBaton(2)], **fds)
        container.cloned()
        container.expect(PASS)
        if user:
            self.let_in()
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{container.pid}/{name}").write_text(f"0 {FIRST_ID} 65536\n")
        container.go()
        return container

    def let_in(self):
        """Give the image to the root of a user namespace."""
        for path in (self.rootfs, *self.rootfs.rglob("*")):
            os.chown(path, FIRST_ID, FIRST_ID, follow_symlinks=False)

    def run(self, *steps, **more):
        """The container after all steps succeeded."""
        container = self.start(*steps, **more)
        container.expect(PASS)
        return container

    def fail(self, *steps, **more):
        """(index of the step among `steps`, errno, call, detail) of the failure that ends the container."""
        container = self.start(*steps, **more)
        message = container.expect(ERROR)
        assert container.wait() == 1
        return message.step - self.skipped, message.error, message.call, message.detail

    def inside(self, container, path):
        """A path as the container sees it, for the test to look at: resolve no links of the image with it."""
        return Path(f"/proc/{container.pid}/root{self.rootfs}{path}")

    def mounted(self, container, path):
        """The topmost mount on a path below the rootfs, or None."""
        return next(
            (m for m in reversed(mounts(container.pid)) if m.point == f"{self.rootfs}{path}"), None
        )

    def untouched(self):
        """Whether nothing outside of the rootfs was changed."""
        return snapshot(self.outside) == self.before
