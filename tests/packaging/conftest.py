"""Debians with the packages. They are tried only by `./dev test-packages`, which builds them and says where they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

BUILT = os.environ.get("OCIFW_PACKAGES", "")
"""The folder of the packages; in its folder `next` lie those of the next version."""
SUITE = "trixie"
NEEDED = "python3-jeepney python3-jsonschema python3-pluggy python3-pyroute2 python3-ruamel.yaml"
CGROUP = "ocifw-packages"

collect_ignore = [] if BUILT else ["test_debian.py", "test_guide.py"]

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "packaging"))
import chroot  # noqa: E402

sys.path.pop(0)


class Machine(chroot.Chroot):
    """A Debian on which packages are installed, and their containers run."""

    def packages(self, *names: str, version: str = "") -> list[str]:
        """The paths, in there, of the packages of these names; without a name of all."""
        folder = Path(BUILT, version)
        found = {path.name.split("_")[0]: path for path in sorted(folder.glob("*.deb"))}
        inside = f"/packages/{version}".rstrip("/")
        return [f"{inside}/{found[name].name}" for name in names or found]

    def ocifw(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ocifw, without looking at its status unless `check`."""
        done = self.run("ocifw", *words, check=False, capture=True)
        assert not (check and done.returncode), f"ocifw {' '.join(words)}: {done.stderr}"
        return done

    def bundle(self, name: str, *args: str, **fields: object) -> Path:
        """A bundle /srv/NAME that runs `args`, with these further fields in config.json; returns the folder."""
        self.ocifw("bundle", f"/srv/{name}")
        folder = self.root / "srv" / name
        config = json.loads((folder / "config.json").read_bytes())
        config["process"].update(terminal=False, args=list(args))
        config["linux"]["cgroupsPath"] = f"/{CGROUP}/{name}"
        config["linux"].update(fields)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def files(self) -> set[str]:
        """Every file and folder that a package could have made."""
        command = ["find", "/usr", "/etc", "/var", "/run", "/srv", "/opt", "-xdev"]
        kept = ("/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/apt/", "/var/cache/debconf/")
        kept += ("/var/log/", "/etc/resolv.conf")
        return {line for line in self.output(*command).splitlines() if not line.startswith(kept)}


@contextmanager
def copied(tree: Path, folder: Path):
    """A machine that is a copy of a folder, for as long."""
    subprocess.run(["nice", "cp", "-a", "--reflink=auto", tree, folder], check=True)
    try:
        yield Machine(folder, ((Path(BUILT), "/packages"),))
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)
        for path in Path("/sys/fs/cgroup").glob(f"**/{CGROUP}"):
            path.rmdir()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder of a clean Debian with what the packages need from the archive."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("needs mmdebstrap")
    archive = chroot.make(chroot.cache() / f"{SUITE}-clean.tar", SUITE)
    folder = tmp_path_factory.mktemp("debian") / "root"
    chroot.unpack(archive, folder).install(*NEEDED.split())
    yield folder
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


@pytest.fixture
def machine(prepared, tmp_path):
    """A Debian without any of the packages."""
    with copied(prepared, tmp_path / "root") as one:
        yield one


@pytest.fixture(scope="session")
def full(prepared, tmp_path_factory):
    """A Debian with the package ocifw. Tests must not change what is installed."""
    with copied(prepared, tmp_path_factory.mktemp("full") / "root") as one:
        names = [path.split("/")[-1].split("_")[0] for path in one.packages()]
        one.install(*one.packages(*[name for name in names if name != "acme-container-set"]))
        yield one


@pytest.fixture
def full_copy(full, tmp_path):
    """A Debian with the package ocifw, for one test."""
    with copied(full.root, tmp_path / "root") as one:
        yield one
