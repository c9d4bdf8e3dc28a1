"""Compiled filters in the cache: the right one or none."""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ocifw import boot
from ocifw_seccomp import cached, compiler
from ocifw_seccomp.compiler import compile_filter

SECCOMP = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}],
}


def again(seccomp: dict[str, Any], machine: str = "x86_64") -> tuple[bytes, int]:
    """What another process would use."""
    cached._found.clear()
    return cached.filter_for(seccomp, machine)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """For which machines something was compiled."""
    calls: list[str] = []

    def count(seccomp: dict[str, Any], machine: str) -> tuple[bytes, int]:
        calls.append(machine)
        return compile_filter(seccomp, machine)

    monkeypatch.setattr(compiler, "compile_filter", count)
    return calls


def test_compiled_once(compiled: list[str]) -> None:
    """A profile that was compiled before is not compiled again, and gives the same program."""
    expected = compile_filter(SECCOMP, "x86_64")
    assert [again(SECCOMP) for _ in range(3)] == [expected] * 3
    assert compiled == ["x86_64"]


def test_what_a_program_depends_on(compiled: list[str]) -> None:
    """Another profile, another architecture, and another compiler make another program."""
    other = {**SECCOMP, "defaultAction": "SCMP_ACT_KILL"}
    programs = {again(SECCOMP), again(other), again(SECCOMP, "aarch64")}
    assert len(programs) == len(compiled) == 3
    assert programs == {
        compile_filter(SECCOMP, "x86_64"),
        compile_filter(other, "x86_64"),
        compile_filter(SECCOMP, "aarch64"),
    }


def test_another_compiler(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older version of the compiler made is not used."""
    again(SECCOMP)
    monkeypatch.setattr(cached, "_SOURCES", cached._SOURCES[1:])
    monkeypatch.setattr(cached, "_name", lambda key: "seccomp-same")
    again(SECCOMP)
    assert len(compiled) == 2


def weaker(path: Path) -> None:
    key, _, flags = marshal.loads(path.read_bytes())
    allow = (0x06).to_bytes(4, "little") + (0x7FFF0000).to_bytes(4, "little")
    path.write_bytes(marshal.dumps((key, allow, flags)))


def renamed(path: Path) -> None:
    weaker(path)
    key, program, flags = marshal.loads(path.read_bytes())
    path.write_bytes(marshal.dumps((key + " ", program, flags)))


def foreign(path: Path) -> None:
    weaker(path)
    os.chown(path, 65534, 65534)


def writable(path: Path) -> None:
    weaker(path)
    path.chmod(0o666)


def linked(path: Path) -> None:
    weaker(path)
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def foreign_folder(path: Path) -> None:
    weaker(path)
    os.chown(path.parent, 65534, 65534)


def open_folder(path: Path) -> None:
    weaker(path)
    path.parent.chmod(0o777)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    "harm",
    [
        renamed, foreign, writable, linked, foreign_folder, open_folder,
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff" * 100),
        lambda path: path.write_bytes(marshal.dumps((1, 2))),
        lambda path: os.truncate(path, 2 << 20),
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_not_used(
    cache: Path, compiled: list[str], harm: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is damaged, for something else, or that others could have written is compiled anew, and noted."""
    notes: list[str] = []
    monkeypatch.setattr(boot.notes, "waiting", notes)
    expected = again(SECCOMP)
    [path] = cache.iterdir()
    harm(path)
    assert again(SECCOMP) == expected
    assert len(compiled) == 2
    assert "is not used" in notes[0]


def test_without_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cache, filters are compiled as ever."""
    monkeypatch.setattr(boot, "cache_folder", lambda: "")
    assert again(SECCOMP) == compile_filter(SECCOMP, "x86_64")


def test_the_number_of_files_is_bounded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest files make room for new ones."""
    monkeypatch.setattr(cached, "KEPT", 3)
    for number in range(5):
        again({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": number + 1})
    assert len(list(cache.iterdir())) == 3


def test_a_known_profile_is_valid(cache: Path) -> None:
    """A profile is known after it was compiled for this machine, not before."""
    machine = os.uname().machine
    assert not cached.is_known(SECCOMP)
    again(SECCOMP, machine)
    cached._found.clear()
    assert cached.is_known(SECCOMP)
