"""RestrictByLandlock on the real kernel, and where the kernel has none."""

from __future__ import annotations

import ctypes

import pytest
from baton import PASS, WARNING
from box import refuse_calls
from conftest import needs_root

from ocifw.steps import (
    LoadFilter,
    Mkdir,
    PivotRoot,
    RestrictByLandlock,
    SetNoNewPrivileges,
    WriteFile,
)

EACCES, EINVAL, ENOSYS = 13, 22, 38
ALL, NO_ERRNO = 0xFFFF, 0
ABI = ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
needs_landlock = pytest.mark.skipif(ABI < 1, reason="needs a kernel with Landlock")
pytestmark = needs_root

BEFORE = (Mkdir("/open"), Mkdir("/closed"), PivotRoot(), SetNoNewPrivileges())
WITHOUT = LoadFilter(refuse_calls([444]))


@needs_landlock
def test_only_what_is_allowed(box):
    """After it, files can be made below the paths that allow it, and nowhere else."""
    restrict = RestrictByLandlock(("/open", "/absent"), (ALL, ALL), ALL, least=0)
    box.run(*BEFORE, restrict, WriteFile("/open/a", b"x"))
    assert (box.rootfs / "open/a").read_bytes() == b"x"
    index, error, _, _ = box.fail(*BEFORE, restrict, WriteFile("/closed/a", b"x"))
    assert (index, error) == (5, EACCES)
    assert not (box.rootfs / "closed/a").exists()


@needs_landlock
def test_a_path_is_resolved_inside(box):
    """A link in the image leads to no place outside of it: what it names is the container's own."""
    (box.rootfs / "link").symlink_to("../../../closed")
    restrict = RestrictByLandlock(("/link",), (ALL,), ALL, least=0)
    box.run(*BEFORE, restrict, WriteFile("/closed/a", b"x"))
    assert box.fail(*BEFORE, restrict, WriteFile("/open/a", b"x"))[1] == EACCES


@needs_landlock
def test_an_abi_that_the_kernel_lacks(box):
    """Where the kernel's ABI is older than `least`, it is an error that names both."""
    index, error, _, detail = box.fail(*BEFORE, RestrictByLandlock((), (), ALL, least=1000))
    assert (index, error) == (4, NO_ERRNO)
    assert f"has ABI {ABI}, needed is 1000" in str(detail)


def test_a_kernel_without_landlock(box):
    """Without Landlock it is an error, unless `least` is 0: then a warning says that nothing is restricted."""
    assert box.fail(*BEFORE, WITHOUT, RestrictByLandlock((), (), ALL))[:2] == (5, ENOSYS)
    container = box.start(*BEFORE, WITHOUT, RestrictByLandlock((), (), ALL, least=0))
    warning = container.expect(WARNING)
    assert (warning.step - box.skipped, warning.error) == (5, ENOSYS)
    assert "nothing is restricted" in str(warning.detail)
    container.expect(PASS)


def test_a_right_for_each_path(box):
    """Paths without rights are a mistake of the plan."""
    assert box.fail(*BEFORE, RestrictByLandlock(("/open",), (), ALL))[1] == EINVAL
