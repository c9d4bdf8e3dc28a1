"""The device filter of cgroup v2 in the kernel's verifier, and attached to cgroups of a v2 hierarchy."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from ocifw.context import Context, Host
from ocifw.errors import OcifwError, StepFailed
from ocifw.linux import bpf
from ocifw_cgroups import create, hierarchies
from ocifw_cgroups.controllers import devices
from ocifw_cgroups.device_filter import SetDeviceFilter, assemble


def mountpoint_v2():
    try:
        return hierarchies.mountpoint_v2(Host())
    except OcifwError:
        return ""


MOUNTPOINT = mountpoint_v2()

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not MOUNTPOINT, reason="needs a mounted cgroup v2"),
]


@pytest.fixture(scope="module", autouse=True)
def may_load():
    """bpf(2) may be forbidden, as it is in most containers."""
    try:
        os.close(bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, assemble(True, ())))
    except PermissionError:
        pytest.skip("needs CAP_BPF")


@pytest.fixture
def folder():
    path = f"{MOUNTPOINT}/ocifw-test-filter-{os.getpid()}"
    os.mkdir(path)
    yield path
    create.remove(path, kill=True)


def attached(folder):
    fd = os.open(folder, os.O_RDONLY)
    try:
        return bpf.prog_query(fd, bpf.BPF_CGROUP_DEVICE)
    finally:
        os.close(fd)


def verify(program, log=False):
    """Let the kernel's verifier look at a program."""
    os.close(bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, program, log=log))


NODES = [
    (kind, major, minor) for kind in (0o20666, 0o60666) for major in (1, 5) for minor in (3, 5)
]


def answers(folder, tmp_path):
    """What a process in the cgroup may do with each node: "m", "r", "w", and "b" for reading and writing."""
    nodes = {}
    for number, (kind, major, minor) in enumerate(NODES):
        path = tmp_path / f"node-{number}"
        if not path.exists():
            os.mknod(path, kind, os.makedev(major, minor))
        nodes[path] = (kind, major, minor)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = ""
        Path(folder, "cgroup.procs").write_text("0")
        for path, (kind, major, minor) in nodes.items():
            found += "".join(
                letter
                for letter, flags in (("r", os.O_RDONLY), ("w", os.O_WRONLY), ("b", os.O_RDWR))
                if allowed(os.open, path, flags | os.O_NONBLOCK | os.O_NOCTTY)
            )
            made = Path(f"{path}-made")
            if allowed(os.mknod, made, kind, os.makedev(major, minor)):
                made.unlink()
                found += "m"
            found += " "
        os.write(writer, found.encode())
        os._exit(0)
    os.close(writer)
    text = os.read(reader, 4096).decode()
    os.close(reader)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text.split(" ")[:-1]


def allowed(function, *arguments):
    """Whether a call is not refused with EPERM; other errors are the device's."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno != errno.EPERM
    return True


def expected(rules):
    """What v1's controller would answer (security/device_cgroup.c)."""
    found = []
    for kind, major, minor in NODES:
        letters = ""
        for letter, wanted in (("r", "r"), ("w", "w"), ("b", "rw"), ("m", "m")):
            matching = [
                access
                for (k, a, b), access in rules.exceptions.items()
                if k == ("c" if kind == 0o20666 else "b") and a in (-1, major) and b in (-1, minor)
            ]
            if rules.allow:
                granted = not any(set(wanted) & set(access) for access in matching)
            else:
                granted = any(set(wanted) <= set(access) for access in matching)
            letters += letter if granted else ""
        found.append(letters)
    return found


def random_rules(numbers):
    rules = devices.Rules(numbers.random() < 0.4)
    for _ in range(numbers.randrange(6)):
        key = (numbers.choice("bc"), numbers.choice([-1, 1, 5]), numbers.choice([-1, 3, 5]))
        letters = "".join(letter for letter in "rwm" if numbers.random() < 0.6) or "r"
        rules.exceptions[key] = letters
    return rules


@pytest.mark.slow
def test_the_filter_answers_as_v1_would(folder, tmp_path):
    """For random rules, each device and each access are answered as the v1 controller answers them."""
    numbers = random.Random(39)
    for _ in range(12):
        rules = random_rules(numbers)
        SetDeviceFilter(folder, rules.allow, rules.lines()).apply(Context("box", "", ""))
        assert answers(folder, tmp_path) == expected(rules), rules.lines()
        assert len(attached(folder)) == 1


def test_the_verifier_accepts_long_programs():
    """Hundreds of rules with the largest numbers are one program; so is none."""
    rules = [f"c {2**31 - 1 - number}:{number} r" for number in range(500)]
    verify(assemble(False, rules))
    verify(assemble(True, ["b *:* rwm", "c *:1 m", "c 1:* rw"]))
    verify(assemble(False, ()))


def test_what_the_verifier_says_is_told():
    """A program that does not answer is refused, and the error holds the verifier's reason."""
    with pytest.raises(OSError, match="R0") as error:
        verify(assemble(True, ())[-8:], log=True)
    assert error.value.errno in (errno.EACCES, errno.EINVAL)


def test_other_filters_are_replaced(folder):
    """One that is there is replaced; several are detached; the new one is the only one."""
    SetDeviceFilter(folder, True, ()).apply(Context("box", "", ""))
    first = attached(folder)
    SetDeviceFilter(folder, False, ()).apply(Context("box", "", ""))
    second = attached(folder)
    assert len(second) == 1 and second != first
    cgroup = os.open(folder, os.O_RDONLY)
    program = bpf.prog_load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, assemble(True, ()))
    bpf.prog_attach(cgroup, program, bpf.BPF_CGROUP_DEVICE, bpf.BPF_F_ALLOW_MULTI)
    os.close(cgroup)
    os.close(program)
    assert len(attached(folder)) == 2
    SetDeviceFilter(folder, False, ("c 1:3 rwm",)).apply(Context("box", "", ""))
    assert len(attached(folder)) == 1


def test_an_error_names_call_and_cgroup(folder):
    """A cgroup that is not there, and a filter that cannot be loaded, are errors that say so."""
    with pytest.raises(StepFailed, match=f"{folder}/none: open: no such file or directory"):
        SetDeviceFilter(f"{folder}/none", True, ()).apply(Context("box", "", ""))
