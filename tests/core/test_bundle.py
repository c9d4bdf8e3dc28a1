"""Making bundles, and unpacking archives that are not to be trusted."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from ocifw import bundle, cli
from ocifw.bundle import make_bundle
from ocifw.errors import OcifwError
from ocifw.unpack import unpack

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.skipif(not Path("/bin").is_symlink(), reason="needs a merged /usr")
def test_host(tmp_path):
    """`--from host` makes folders and links, and mounts the host's /usr read-only."""
    assert cli.main(["bundle", str(tmp_path / "b")]) == 0
    rootfs = tmp_path / "b/rootfs"
    assert os.readlink(rootfs / "bin") == "usr/bin"
    assert (rootfs / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (rootfs / "etc/passwd").read_text().startswith("root:x:0:0:")
    assert not list((rootfs / "usr").iterdir())
    config = config_of(tmp_path / "b")
    usr = config["mounts"][-1]
    assert usr["destination"] == usr["source"] == "/usr"
    assert {"rbind", "ro", "nosuid", "nodev"} <= set(usr["options"])
    assert config["root"]["path"] == "rootfs" and config["process"]["args"] == ["sh"]


@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox-static")
def test_busybox(tmp_path):
    """`--from busybox` installs a static busybox with a working link for each program."""
    make_bundle(str(tmp_path), "busybox")
    listed = subprocess.run(
        [tmp_path / "rootfs/bin/sh", "-c", "echo works"], capture_output=True, text=True, check=True
    )
    assert listed.stdout == "works\n"
    assert (tmp_path / "rootfs/usr/bin/env").resolve() == (
        tmp_path / "rootfs/bin/busybox"
    ).resolve()


def test_no_busybox(tmp_path, monkeypatch):
    """Without a static busybox the error names the package; a dynamic program is none."""
    monkeypatch.setattr(bundle, "_BUSYBOX", (str(tmp_path / "none"), shutil.which("true")))
    with pytest.raises(OcifwError, match="install the package busybox-static"):
        make_bundle(str(tmp_path / "b"), "busybox")
    assert not (tmp_path / "b/config.json").exists()


def test_folder(tmp_path):
    """A root filesystem that is there is used where it is, and stays as it is."""
    (tmp_path / "r").mkdir()
    make_bundle(str(tmp_path / "b"), str(tmp_path / "r"), rootless=True)
    config = config_of(tmp_path / "b")
    assert config["root"]["path"] == str(tmp_path / "r")
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert not list((tmp_path / "r").iterdir())


def test_nothing_is_overwritten(tmp_path):
    """A config.json or rootfs that is there stays, and nothing is added."""
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(OcifwError, match=r"File config.json exists. Remove it first"):
        make_bundle(str(tmp_path), "host")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    (tmp_path / "config.json").unlink()
    (tmp_path / "rootfs").mkdir()
    with pytest.raises(OcifwError, match=r"rootfs exists. Remove it first"):
        make_bundle(str(tmp_path), "host")
    assert [path.name for path in tmp_path.iterdir()] == ["rootfs"]


def test_unknown_source(tmp_path):
    """A source that is nothing of what can be used is refused, and no rootfs is left."""
    with pytest.raises(OcifwError, match="expected host, busybox, a tar archive or a folder"):
        make_bundle(str(tmp_path / "b"), "nope")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(OcifwError, match="not a tar archive"):
        make_bundle(str(tmp_path / "b"), str(tmp_path / "text"))
    assert not (tmp_path / "b/rootfs").exists()


# ---- archives ----------------------------------------------------------------------------------------------------


def member(name, kind=tarfile.REGTYPE, content=b"", **attributes):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info, io.BytesIO(content)


def archive(path, *members):
    with tarfile.open(path, "w") as file:
        for info, content in members:
            file.addfile(info, content)
    return tarfile.open(path)


@pytest.fixture
def unpacked(tmp_path):
    """Unpacks members below tmp_path/root, beside which lies a folder that must not change."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("untouched")

    def run(*members):
        with archive(tmp_path / "a.tar", *members) as file:
            unpack(file, tmp_path / "root")
        return tmp_path / "root"

    yield run
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["file"]
    assert (tmp_path / "outside/file").read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "outside", "root"]


def test_unpack(unpacked):
    """Files, folders, symbolic and hard links come out with their modes and times; folders may be read-only."""
    root = unpacked(
        member("./", tarfile.DIRTYPE),
        member("./d", tarfile.DIRTYPE, mode=0o555, mtime=1000),
        member("./d/f", content=b"text", mode=0o4711, mtime=2000),
        member("./d/l", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("d/h", tarfile.LNKTYPE, linkname="./d/f"),
        member("implied/f"),
    )
    assert (root / "d/f").read_bytes() == b"text"
    assert (root / "d/f").stat().st_mode & 0o7777 == 0o4711
    assert (root / "d/f").stat().st_mtime == 2000
    assert (root / "d").stat().st_mode & 0o7777 == 0o555
    assert (root / "d").stat().st_mtime == 1000
    assert os.readlink(root / "d/l") == "/etc/passwd"
    assert (root / "d/h").samefile(root / "d/f")
    assert (root / "implied/f").exists()


@needs_root
def test_unpack_owners(unpacked):
    """As root, owners are the archive's numbers, whatever names it gives."""
    root = unpacked(
        member("f", uid=1234, gid=5678, uname="root"),
        member("l", tarfile.SYMTYPE, linkname="f", uid=12, gid=34),
    )
    assert (root / "f").stat().st_uid == 1234 and (root / "f").stat().st_gid == 5678
    assert (root / "l").lstat().st_uid == 12


def test_unpack_no_devices(unpacked):
    """Devices and FIFOs are left out."""
    root = unpacked(
        member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("sda", tarfile.BLKTYPE, devmajor=8),
        member("fifo", tarfile.FIFOTYPE),
    )
    assert not list(root.iterdir())


@pytest.mark.parametrize("name", ["../outside/file", "d/../../outside/file", "/../outside/file"])
def test_unpack_names_outside(unpacked, name):
    """A name with `..` is refused."""
    with pytest.raises(OcifwError, match="leads outside"):
        unpacked(member(name, content=b"changed"))


def test_unpack_through_links(unpacked, tmp_path):
    """What lies behind a symbolic link comes out inside, where the container will see it."""
    root = unpacked(
        member("outside", tarfile.DIRTYPE),
        member(f"{tmp_path}/outside", tarfile.DIRTYPE),
        member("up", tarfile.SYMTYPE, linkname="../outside"),
        member("absolute", tarfile.SYMTYPE, linkname=f"{tmp_path}/outside"),
        member("up/file", content=b"changed"),
        member("absolute/file", content=b"changed"),
        member("up/h", tarfile.LNKTYPE, linkname="up/file"),
    )
    assert (root / "outside/file").read_bytes() == b"changed"
    assert (root / str(tmp_path).lstrip("/") / "outside/file").read_bytes() == b"changed"


def test_unpack_through_a_dangling_link(unpacked):
    """A member behind a link to nowhere cannot be made, and the error names it."""
    with pytest.raises(OcifwError, match=r"a\.tar: l/f: no such file or directory"):
        unpacked(member("l", tarfile.SYMTYPE, linkname="../outside"), member("l/f"))


def test_unpack_over_a_link(unpacked, tmp_path):
    """A file replaces a link of its name, and is not written through it."""
    root = unpacked(
        member("f", tarfile.SYMTYPE, linkname=f"{tmp_path}/outside/file"),
        member("f", content=b"changed"),
    )
    assert not (root / "f").is_symlink()
    assert (root / "f").read_bytes() == b"changed"


def test_unpack_hard_links_outside(unpacked, tmp_path):
    """A hard link reaches nothing outside, by name or through a symbolic link."""
    with pytest.raises(OcifwError, match="leads outside"):
        unpacked(member("h", tarfile.LNKTYPE, linkname="../outside/file"))
    with pytest.raises(OcifwError, match="which is not there"):
        unpacked(
            member("out", tarfile.SYMTYPE, linkname=f"{tmp_path}/outside"),
            member("h", tarfile.LNKTYPE, linkname="out/file"),
        )


def test_archive(tmp_path):
    """`--from FILE` unpacks an archive; one that breaks off leaves no rootfs."""
    archive(tmp_path / "a.tar", member("bin/sh", content=b"x" * 100_000, mode=0o755)).close()
    make_bundle(str(tmp_path / "b"), str(tmp_path / "a.tar"))
    assert (tmp_path / "b/rootfs/bin/sh").stat().st_size == 100_000
    (tmp_path / "cut.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:5000])
    with pytest.raises(OcifwError, match=r"cut\.tar: "):
        make_bundle(str(tmp_path / "c"), str(tmp_path / "cut.tar"))
    assert not (tmp_path / "c/rootfs").exists()
