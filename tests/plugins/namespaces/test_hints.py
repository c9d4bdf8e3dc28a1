"""Which command mends what this machine denies to who has no privileges."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOSPC, EPERM

import pytest

from ocifw.context import Host
from ocifw.errors import OcifwError, StepFailed
from ocifw.steps import Clone, SetHostname, Unshare
from ocifw_namespaces.hints import hints

SYSCTL = "/proc/sys"


def failed(step, number):
    return StepFailed(step, number, "clone")


def found(error, files=(), euid=1000):
    contents = {f"{SYSCTL}/{name}": value for name, value in dict(files).items()}
    return " | ".join(hints(error, Host(contents, euid=euid)))


@pytest.mark.parametrize("kind", ["user", "net", "mnt"])
@pytest.mark.parametrize("step", [Clone(), Unshare(0)])
def test_a_limit_of_0(kind, step):
    """The sysctl of the kind of namespace that is disabled is named, for root, too."""
    files = {"user/max_user_namespaces": b"100\n", f"user/max_{kind}_namespaces": b"0\n"}
    answer = found(failed(step, ENOSPC), files, euid=0)
    assert f"sysctl -w user.max_{kind}_namespaces=15000" in answer
    assert answer.count("sysctl") == 2  # the other is the folder


def test_a_limit_that_is_reached():
    """Where nothing is disabled, limits and nesting are named."""
    assert "32" in found(failed(Clone(), ENOSPC), {"user/max_user_namespaces": b"100\n"})


def test_debians_switch():
    """Debian's and Arch's switch is named where it is off."""
    name = "kernel/unprivileged_userns_clone"
    assert "kernel.unprivileged_userns_clone=1" in found(failed(Clone(), EPERM), {name: b"0\n"})
    assert found(failed(Clone(), EPERM), {name: b"1\n"}) == ""
    assert found(failed(Clone(), EPERM), {name: b"0\n"}, euid=0) == ""


@pytest.mark.parametrize("number", [EPERM, EACCES])
@pytest.mark.parametrize("step", [Clone(), SetHostname("x")])
def test_apparmor(step, number):
    """AppArmor lets a user namespace be made, and denies what follows: any step may be the one that fails."""
    name = "kernel/apparmor_restrict_unprivileged_userns"
    wanted = "kernel.apparmor_restrict_unprivileged_userns=0"
    assert wanted in found(failed(step, number), {name: b"1\n"})
    assert found(failed(step, number), {name: b"0\n"}) == ""
    assert found(failed(step, number), {name: b"1\n"}, euid=0) == ""
    assert found(failed(step, EINVAL), {name: b"1\n"}) == ""


def test_other_errors():
    """What is no failure of a step has no hint."""
    assert found(OcifwError("no space left on device")) == ""
    assert found(failed(SetHostname("x"), ENOSPC), {"user/max_user_namespaces": b"0\n"}) == ""
