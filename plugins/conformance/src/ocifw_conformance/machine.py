"""What this machine has, and a place on it where containers can be tried without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ocifw.errors import OcifwError
from ocifw.linux.mount import (
    MNT_DETACH,
    MS_BIND,
    MS_MOVE,
    MS_PRIVATE,
    MS_REC,
    mount,
    umount2,
)
from ocifw.linux.namespaces import CLONE_NEWNS, unshare
from ocifw.linux.process import prctl

CGROUPS = "/sys/fs/cgroup"
UNIFIED = f"{CGROUPS}/unified"
PR_SET_CHILD_SUBREAPER = 36
FOLDERS = ("bin", "dev", "proc", "sys", "tmp", "etc", "root", "home", "run", "var", "srv")


def cgroup_v2() -> bool:
    """Whether the cgroup hierarchy is the unified one alone."""
    return os.path.exists(f"{CGROUPS}/cgroup.controllers")


def controllers() -> list[str]:
    """The controllers of cgroup v1 that are mounted, or those of cgroup v2."""
    if cgroup_v2():
        return Path(f"{CGROUPS}/cgroup.controllers").read_text().split()
    return sorted(
        name
        for name in os.listdir(CGROUPS)
        if os.path.exists(f"{CGROUPS}/{name}/tasks") and name != "systemd"
    )


def security_modules() -> list[str]:
    """AppArmor and SELinux, as far as they are active."""
    found = []
    try:
        if Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y"):
            found.append("AppArmor")
    except OSError:
        pass
    if os.path.exists("/sys/fs/selinux/enforce"):
        found.append("SELinux")
    return found


def resctrl() -> bool:
    """Whether Intel RDT can be used."""
    return " resctrl " in Path("/proc/mounts").read_text()


def facts() -> dict[str, str]:
    """What the results depend on, for the reader of a document."""
    kernel = os.uname()
    version = "v2" if cgroup_v2() else "v1"
    return {
        "kernel": f"{kernel.sysname} {kernel.release} {kernel.machine}",
        "cgroups": f"{version}: {' '.join(controllers())}",
        "security modules": ", ".join(security_modules()) or "neither AppArmor nor SELinux",
        "resctrl": "mounted" if resctrl() else "not mounted",
    }


def become_private(hide_unified: bool = False) -> None:
    """Give this process a mount namespace of its own, and the processes that its containers leave.

    hide_unified: show only the controllers of cgroup v1, by a tmpfs of our own over the host's: crun refuses a unified
    hierarchy beside them, and would make folders in the host's tmpfs.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    if not hide_unified or not os.path.ismount(UNIFIED):
        return
    with tempfile.TemporaryDirectory(prefix="ocifw-conformance-") as folder:
        mount("tmpfs", folder, "tmpfs", 0)
        for name in os.listdir(CGROUPS):
            if name != "unified" and os.path.ismount(f"{CGROUPS}/{name}"):
                os.mkdir(f"{folder}/{name}")
                mount(f"{CGROUPS}/{name}", f"{folder}/{name}", "", MS_BIND)
        umount2(CGROUPS, MNT_DETACH)
        mount(folder, CGROUPS, "", MS_MOVE)


def make_rootfs(rootfs: Path) -> Path:
    """Make a root filesystem of busybox, with the users root (0) and user (1000). Raises OcifwError without busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise OcifwError("conformance needs busybox, linked statically (Debian: busybox-static)")
    for name in FOLDERS:
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin/busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in listed.stdout.split():
        if applet != "busybox":
            (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"
    )
    (rootfs / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return rootfs


def remove_cgroups(parent: str) -> list[str]:
    """Remove a cgroup parent with all below it, in each hierarchy. Returns the cgroups that were still below it."""
    roots = [CGROUPS] if cgroup_v2() else [f"{CGROUPS}/{name}" for name in os.listdir(CGROUPS)]
    left = []
    for root in roots:
        top = f"{root}/{parent}"
        for path, _, _ in os.walk(top, topdown=False):
            if path != top:
                left.append(path)
            try:
                os.rmdir(path)
            except OSError:
                left.append(path)
    return left
