"""Wheels: the same bytes wherever and whenever they are built, for this machine and for aarch64."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MACHINES = {"x86_64": (62, "gcc"), "aarch64": (183, "aarch64-linux-gnu-gcc")}
"""By name: the number in an ELF header (elf(5), e_machine), and a compiler."""
PURE = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PROJECTS = [ROOT / "core", *PURE, ROOT / "packaging/acme"]


def build(source, folder, umask, **environment):
    """The wheel of a copy of a project in a folder."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", "dist"))
    for path in folder.rglob("*"):
        os.utime(path, (umask * 10**6, umask * 10**6))
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder.parent / "wheel"]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, umask=umask,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (folder.parent / "wheel").iterdir()
    return wheel


def twice(source, folder, **environment):
    """Two wheels of a project: from folders, times and with file modes of their own."""
    return [
        build(source, folder / "one" / source.name, 0o022, **environment),
        build(source, folder / "another, deeper" / "one" / source.name, 0o077, **environment),
    ]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("machine", MACHINES)
def test_the_core(tmp_path, machine):
    """Two builds of the core have one hash; tag and programs are of the machine that the compiler compiles for."""
    number, compiler = MACHINES[machine]
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    if os.uname().machine == machine:
        compiler = "gcc"
    one, other = twice(ROOT / "core", tmp_path, CC=compiler)
    tag = f"cp3{sys.version_info.minor}"
    assert one.name == other.name
    assert one.name.endswith(f"-{tag}-{tag}-linux_{machine}.whl")
    assert digest(one) == digest(other)
    with zipfile.ZipFile(one) as archive:
        names = archive.namelist()
        programs = [name for name in names if archive.read(name)[:4] == b"\x7fELF"]
        assert {Path(name).name for name in programs} == {"ocifw-init", "_kernel.abi3.so", "ocifw"}
        for name in programs:
            content = archive.read(name)
            assert int.from_bytes(content[18:20], "little") == number, name
            assert str(tmp_path).encode() not in content
            assert archive.getinfo(name).external_attr >> 16 & 0o7777 in (0o755, 0o644)


@pytest.mark.parametrize("source", PROJECTS[1:], ids=lambda path: path.name)
def test_plugins(tmp_path, source):
    """Two builds of a plugin have one hash, and it is for every machine."""
    one, other = twice(source, tmp_path)
    assert one.name.endswith("-py3-none-any.whl")
    assert digest(one) == digest(other)


def test_an_aarch64_program_runs(tmp_path):
    """ocifw-init of the wheel for aarch64 is a program that this kernel can run with qemu, and says what it lacks."""
    compiler, emulator = MACHINES["aarch64"][1], "qemu-aarch64-static"
    for needed in (compiler, emulator):
        if shutil.which(needed) is None:
            pytest.skip(f"needs {needed}")
    wheel = build(ROOT / "core", tmp_path / "core", 0o022, CC=compiler)
    with zipfile.ZipFile(wheel) as archive:
        archive.extract("ocifw/bin/ocifw-init", tmp_path)
    program = tmp_path / "ocifw/bin/ocifw-init"
    program.chmod(0o755)
    done = subprocess.run([emulator, program], capture_output=True, check=False, timeout=20)
    assert done.returncode not in (126, 127) and done.returncode >= 0, done
