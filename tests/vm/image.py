"""Builds the test machine from Debian packages, once: `folder()` tells where it is.

Everything is unpacked beside each other in a cache folder, and nothing is installed on this machine:

    root.img          Debian trixie, an ext4 file system
    vmlinuz-new       trixie's kernel, initramfs-new finds its disk
    vmlinuz-old       bookworm's kernel 6.1: Debian's last with memory and cpuset on cgroup v1
    qemu/             QEMU 10 of bookworm-backports (7.2's emulation crashes newer kernels) and bookworm's virtiofsd
    host/             programs of the image that run on this machine, too: criu, python3.13

Needs root, `mmdebstrap`, `e2fsprogs` and about 3 GB of disk. OCIFW_VM_CACHE names the cache, by default
$XDG_CACHE_HOME/ocifw-vm. The apt sources of this machine, which must be a Debian, say which mirror is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE.parents[1] / "constraints.txt"
PYTHON = "python3.13"
"""trixie's Python, in which the tests run."""

SUITE, OLD_SUITE, QEMU_SUITE = "trixie", "bookworm", "bookworm-backports"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DISK_SIZE = "4G"
KEPT = 3
"""How many images stay in the cache."""

QEMU_PACKAGES = "qemu-system-x86 qemu-system-common qemu-system-data seabios qemu-utils".split()
PACKAGES = (
    "systemd systemd-sysv libpam-systemd dbus dbus-user-session udev kmod procps"
    " runc crun podman conmon containerd netavark nftables fuse-overlayfs slirp4netns passt uidmap"
    " criu libcriu2 python3-pycriu iptables redis-server busybox-static libseccomp2 strace"
    " apparmor selinux-policy-default policycoreutils selinux-utils"
    " iproute2 e2fsprogs util-linux-extra libcap2-bin attr acl ca-certificates"
    " python3 python3-venv python3-dev gcc libc6-dev"
).split()


class ImageError(Exception):
    """What is missing on this machine for building the image."""


def cache() -> Path:
    """The folder that holds all images."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ocifw-vm"
    return Path(os.environ.get("OCIFW_VM_CACHE") or usual)


def folder() -> Path:
    """The folder of the image for this checkout, which is built when it is not there yet. Raises ImageError."""
    content = hashlib.sha256()
    for path in [Path(__file__), LOCK, *sorted((HERE / "guest").rglob("*"))]:
        if path.is_file():
            content.update(f"{path.name}\0".encode() + path.read_bytes())
    built = cache() / content.hexdigest()[:16]
    if not (built / "complete").exists():
        cache().mkdir(parents=True, exist_ok=True)
        with open(cache() / "build.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (built / "complete").exists():
                _build(built)
                _remove_old()
    (built / "complete").touch()
    return built


def _remove_old() -> None:
    """Remove all images but the last ones that were used: each lock of packages makes another."""
    used = sorted(cache().glob("*/complete"), key=lambda path: path.stat().st_mtime)
    for path in used[:-KEPT]:
        shutil.rmtree(path.parent, ignore_errors=True)


def _build(built: Path) -> None:
    missing = [name for name in ("mmdebstrap", "mke2fs", "unshare") if shutil.which(name) is None]
    if missing:
        raise ImageError(
            f"needs {', '.join(missing)}: apt-get install mmdebstrap e2fsprogs util-linux"
        )
    if os.geteuid() != 0:
        raise ImageError("the image can only be built by root")
    with tempfile.TemporaryDirectory(prefix="build.", dir=cache()) as work:
        # Mounts that are made for the image end with this process.
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, __file__, work]
        subprocess.run(command, check=True, stdout=sys.stderr)
        shutil.rmtree(built, ignore_errors=True)
        os.rename(f"{work}/out", built)
        (built / "complete").touch()


class Apt:
    """apt with sources and caches of its own; of this machine it reads the list of installed packages."""

    def __init__(self, work: Path, name: str, lines: list[str]) -> None:
        """lines: of sources.list. Reads the lists of packages."""
        self.archives = work / name / "cache/archives"
        for path in (work / name / "lists/partial", self.archives / "partial"):
            path.mkdir(parents=True)
        (work / name / "sources.list").write_text("\n".join(lines) + "\n")
        self.options = [
            f"-oDir::Etc::sourcelist={work / name / 'sources.list'}",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={work / name / 'lists'}",
            f"-oDir::Cache={work / name / 'cache'}",
            "-oAcquire::Check-Valid-Until=false",
            "-oAPT::Sandbox::User=root",
        ]
        self.run("update")

    def run(self, *words: str, cwd: Path | None = None) -> None:
        """apt-get."""
        call(["apt-get", "-qq", *self.options, *words], cwd=cwd)

    def depends(self, package: str, prefix: str) -> str:
        """The first dependency of a package whose name has this prefix."""
        words = output(["apt-cache", *self.options, "depends", "--no-recommends", package]).split()
        return next(word for word in words if word.startswith(prefix) and word != package)


def main(work: Path) -> None:
    """Build everything in `work`; the result is in `work/out`."""
    out = work / "out"
    out.mkdir()
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().split("\n")
        if "=" in line
    )
    host = release.get("VERSION_CODENAME", "").strip('"')
    mirror, security = mirror_of(host), mirror_of(f"{host}-security")
    if not mirror:
        raise ImageError(
            f"apt knows no mirror for {host or 'this system'}: needs Debian's apt sources"
        )
    say("package lists")
    old = Apt(work, "old", sources(mirror, security, OLD_SUITE) + sources(mirror, "", QEMU_SUITE))
    new = Apt(work, "new", sources(mirror, security, SUITE))
    unpack_qemu(old, out / "qemu")
    for label, apt in (("old", old), ("new", new)):
        unpack_kernel(apt, label, work, out)
    fetch_wheels(work / "wheels")
    make_root(work, sources(mirror, security, SUITE))
    for name, program in (("criu", "/usr/sbin/criu"), (PYTHON, f"/usr/bin/{PYTHON}")):
        make_portable(work / "root", program, out / "host", name)
    shutil.copytree(
        work / f"root/usr/lib/{PYTHON}",
        out / f"host/lib/{PYTHON}",
        ignore=shutil.ignore_patterns("__pycache__", "config-*", "sitecustomize.py", "EXTERNALLY*"),
    )
    say("disk image")
    call(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "root",
          "-d", work / "root", out / "root.img", DISK_SIZE])  # fmt: skip
    say("done")


def mirror_of(codename: str) -> str:
    """The address of a repository that this machine's apt uses; "" when it uses none."""
    command = [
        "apt-get",
        "indextargets",
        "--format",
        "$(CODENAME) $(REPO_URI)",
        "Identifier: Packages",
    ]
    rows = [line.split() for line in output(command).split("\n") if line]
    return next((row[1] for row in rows if row[0] == codename), "")


def sources(mirror: str, security: str, suite: str) -> list[str]:
    """Lines of sources.list for a suite."""
    lines = [f"deb [signed-by={KEYRING}] {mirror} {suite} main"]
    return lines + [f"deb [signed-by={KEYRING}] {security} {suite}-security main"] * bool(security)


def unpack_qemu(apt: Apt, target: Path) -> None:
    """QEMU with what it needs, and the last virtiofsd that was part of it."""
    say(f"QEMU of {QEMU_SUITE}")
    apt.run("-t", QEMU_SUITE, "install", "--yes", "--no-install-recommends", "--download-only",
            "--reinstall", *QEMU_PACKAGES)  # fmt: skip
    target.mkdir()
    for package in sorted(apt.archives.glob("*.deb")):
        call(["dpkg", "-x", package, target])
    shutil.rmtree(target / "usr/share/doc")
    apt.run("download", f"qemu-system-common/{OLD_SUITE}", cwd=apt.archives)
    [package] = apt.archives.glob("qemu-system-common_1%3a7.*.deb")
    call(["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" ./usr/lib/qemu/virtiofsd',
          "sh", package, target])  # fmt: skip
    if (target / "lib").is_dir():
        shutil.copytree(target / "lib", target / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(target / "lib")


def unpack_kernel(apt: Apt, label: str, work: Path, out: Path) -> None:
    """The kernel and its modules, taken apart: no boot loader, no generator of an initramfs."""
    package = apt.depends("linux-image-cloud-amd64", "linux-image-")
    say(f"kernel {label}: {package}")
    apt.run("download", package, cwd=work / label)
    [archive] = (work / label).glob(f"{package}_*.deb")
    tree = work / f"kernel-{label}"
    call(["dpkg", "-x", archive, tree])
    [kernel] = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, out / f"vmlinuz-{label}")


def fetch_wheels(target: Path) -> None:
    """The packages of the lock as wheels for the image's Python."""
    say(f"wheels of {LOCK.name}")
    platforms = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
    call([sys.executable, "-m", "pip", "-q", "download", "--dest", target, "--only-binary=:all:",
          "--require-hashes", "--python-version", PYTHON.removeprefix("python"),
          *[f"--platform={name}" for name in platforms], "--implementation", "cp",
          "--requirement", LOCK])  # fmt: skip
    shutil.copy(LOCK, target / "requirements.txt")


def make_root(work: Path, lines: list[str]) -> None:
    """The root file system, finished by guest/setup."""
    say(f"root file system of {SUITE}")
    os.environ["VM_WORK"] = str(work)
    call(["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--skip=cleanup/reproducible",
          f"--include={','.join(PACKAGES)}", '--aptopt=Acquire::Check-Valid-Until "false"',
          *[f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")],
          f'--customize-hook=bash {HERE / "guest/setup"} "$1"',
          SUITE, work / "root", *lines])  # fmt: skip


def make_portable(root: Path, program: str, target: Path, name: str) -> None:
    """A program of the image with its loader and libraries, started by a script `target/name`."""
    target.mkdir(exist_ok=True)
    shutil.copy(root / program.lstrip("/"), target / f"{name}.bin")
    for word in output(["chroot", root, "ldd", program]).split():
        if word.startswith("/"):
            shutil.copy(root / word.lstrip("/"), target)
    script = target / name
    script.write_text(
        '#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\n'
        f'exec "$here/ld-linux-x86-64.so.2" --library-path "$here" --argv0 {name} "$here/{name}.bin" "$@"\n'
    )
    script.chmod(0o755)


def call(command: list[str | Path], cwd: Path | None = None) -> None:
    """Run a command. Raises CalledProcessError when it fails."""
    subprocess.run([str(word) for word in command], check=True, cwd=cwd)


def output(command: list[str | Path]) -> str:
    """What a command prints. Raises CalledProcessError when it fails."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


_started = time.monotonic()


def say(text: str) -> None:
    print(f"vm: {time.monotonic() - _started:3.0f} s: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except ImageError as failure:
        sys.exit(f"vm: {failure}")
