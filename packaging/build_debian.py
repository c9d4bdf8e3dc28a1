#!/usr/bin/python3
"""Build the Debian packages from this checkout, in a clean Debian. Needs root and mmdebstrap.

    packaging/build_debian.py [--suite trixie] [--version VERSION] [--no-lintian] FOLDER

The packages, their source and lintian's judgement are in FOLDER then. --version builds another one than the changelog's, for
trying upgrades. Only the archive of the suite is needed: nothing is downloaded by the build itself, which has no network.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "packaging"))

import chroot  # noqa: E402

USER = "1000"
TOOLS = ("build-essential", "fakeroot", "lintian", "man-db")


def main() -> int:
    """Build, and show what lintian says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--suite", default="trixie")
    parser.add_argument("--version", default="")
    parser.add_argument("--no-lintian", action="store_true")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    return build(options.folder, options.suite, options.version, not options.no_lintian)


def build(folder: Path, suite: str, version: str, judge: bool) -> int:
    """Build source and binary packages into `folder`; with `judge`, ask lintian. Raises CalledProcessError.

    Returns 1 when lintian has errors or warnings.
    """
    with tempfile.TemporaryDirectory(prefix="ocifw-build-", dir="/var/tmp") as name:
        debian = builder(Path(name), suite)
        home = debian.root / "build"
        source = unpack_source(home, version)
        debian.run("chown", "-R", f"{USER}:{USER}", "/build")
        # As a user, without network: what would need either fails here as on Debian's own machines.
        debian.run(
            "unshare", "--net", "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
            "sh", "-c", f"cd /build/{source.name} && exec dpkg-buildpackage --no-sign -j1",
            HOME="/build",
        )  # fmt: skip
        for path in sorted(home.iterdir()):
            if path.is_file():
                shutil.copy(path, folder)
        return lint(debian, folder) if judge else 0


def builder(work: Path, suite: str) -> chroot.Chroot:
    """A Debian with everything that the build needs."""
    text = (ROOT / "packaging/debian/control").read_text()
    wanted = re.search(r"^Build-Depends:\n((?: .*\n)+)", text, re.MULTILINE)
    if wanted is None:
        raise SystemExit("packaging/debian/control has no Build-Depends")
    names = [re.split(r"[\s:(,]", line.strip())[0] for line in wanted[1].splitlines()]
    names = ["debhelper" if name == "debhelper-compat" else name for name in names]
    archive = chroot.make(chroot.cache() / f"{suite}-build.tar", suite, (*TOOLS, *names))
    return chroot.unpack(archive, work / "root")


def unpack_source(home: Path, version: str) -> Path:
    """The source package's folder, and beside it the upstream archive it is compared with."""
    changelog = (ROOT / "packaging/debian/changelog").read_text()
    own = re.match(r"ocifw \((.*?)\)", changelog)
    if own is None:
        raise SystemExit("packaging/debian/changelog begins with no version")
    version = version or own[1]
    upstream = version.rpartition("-")[0]
    source = home / f"ocifw-{upstream}"
    source.mkdir(parents=True)
    for path in files():
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target)
    archive = home / f"ocifw_{upstream}.orig.tar.gz"
    command = ["tar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf", archive]
    subprocess.run([*map(str, command), "-C", str(home), source.name], check=True)
    shutil.copytree(ROOT / "packaging/debian", source / "debian")
    if version != own[1]:
        path = source / "debian/changelog"
        entry = changelog.replace(own[1], version, 1)
        entry = re.sub(r"(?m)^( -- .*>  ).*$", rf"\g<1>{formatdate()}", entry)
        path.write_text(f"{entry}\n{changelog}")
    return source


def files() -> list[str]:
    """What is, or could be, committed: the names of its files, without tests, which no package has."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    done = subprocess.run([*command, "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)  # fmt: skip
    names = [name.decode() for name in done.stdout.split(b"\0") if name]
    return [name for name in names if (ROOT / name).is_file() and not name.startswith("tests/")]


def lint(debian: chroot.Chroot, folder: Path) -> int:
    """Run the suite's lintian on what was built. Returns 1 when it has errors or warnings."""
    # A first upload to Debian closes the bug that announces it; these packages are not uploaded.
    command = "lintian --suppress-tags initial-upload-closes-no-bugs --display-info --pedantic"
    done = debian.run(
        "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
        "sh", "-c", f"exec {command} /build/*.changes",
        check=False, capture=True, HOME="/build",
    )  # fmt: skip
    (folder / "lintian.txt").write_text(done.stdout)
    print(done.stdout + done.stderr, end="")
    return int(bool(re.search(r"^[EW]:", done.stdout, re.MULTILINE)))


if __name__ == "__main__":
    sys.exit(main())
