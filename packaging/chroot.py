"""A Debian in a folder, made by mmdebstrap, and programs that run in it. Needs root.

Every program has a mount namespace of its own: what is mounted for it is gone when it ends, and never seen by this machine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

# Bound to itself first: pivot_root(2), which containers need, wants the old root to be a mount.
MOUNTS = """
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs tmp
for folder in $2; do mkdir -p ".$folder"; done
while [ "$3" != -- ]; do mkdir -p ".$4"; mount --bind "$3" ".$4"; shift 2; done
shift 3
exec chroot . "$@"
"""


class Chroot:
    """The folder of a Debian. binds: pairs of a folder of this machine, and where it is in there."""

    def __init__(self, root: Path, binds: tuple[tuple[Path, str], ...] = ()) -> None:
        self.root = root
        self.binds = binds

    def run(
        self, *words: str | Path, check: bool = True, capture: bool = False, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with nothing of this machine's environment. Raises CalledProcessError."""
        command = ["nice", "unshare", "--mount", "--propagation", "private"]
        command += ["sh", "-euc", MOUNTS, "chroot", str(self.root.resolve()), "/run"]
        for outside, inside in self.binds:
            command += [str(outside.resolve()), inside]
        command += ["--", *map(str, words)]
        variables = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        return subprocess.run(
            command,
            check=check,
            capture_output=capture,
            text=True,
            env={**variables, **environment},
            stdin=subprocess.DEVNULL,
        )

    def output(self, *words: str | Path) -> str:
        """What a program prints on standard output. Raises CalledProcessError."""
        return self.run(*words, capture=True).stdout

    def install(self, *packages: str) -> None:
        """Install packages by name or path, with what they need and nothing else, from the Debian archive."""
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        self.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def unpack(archive: Path, root: Path) -> Chroot:
    """A fresh Debian from an archive that `make` made."""
    root.mkdir(parents=True)
    subprocess.run(["nice", "tar", "-xf", archive, "-C", root, "--exclude=./dev/*"], check=True)
    return Chroot(root)


def make(archive: Path, suite: str, packages: tuple[str, ...] = ()) -> Path:
    """Make the archive of a Debian, unless it is there."""
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        new = archive.with_name(f"new-{archive.name}")
        # apt's lists stay in it: what is installed later comes from the same state of the archive.
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt"]
        command += ["--skip=cleanup/apt/lists", *[f"--include={name}" for name in packages]]
        script = shlex.join([*command, suite, str(new)])
        subprocess.run(
            ["nice", "unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            check=True,
        )
        os.rename(new, archive)
    return archive


def cache() -> Path:
    """Where archives are kept."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ocifw-packages"
    return Path(os.environ.get("OCIFW_PACKAGES_CACHE") or usual)
