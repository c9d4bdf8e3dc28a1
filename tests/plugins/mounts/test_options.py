"""Mount options: each of the specification's does what mount(8) says, alone and after its opposite."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocifw.linux import mount as kernel
from ocifw_mounts.options import OPTIONS, parse, propagation

ATIME = kernel.MOUNT_ATTR__ATIME

# config.md, Linux mount options.
SPECIFIED = (
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime "
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev "
    "rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid "
    "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared "
    "silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap"
).split()

ATTRIBUTES = {
    "ro": kernel.MOUNT_ATTR_RDONLY,
    "nosuid": kernel.MOUNT_ATTR_NOSUID,
    "nodev": kernel.MOUNT_ATTR_NODEV,
    "noexec": kernel.MOUNT_ATTR_NOEXEC,
    "nodiratime": kernel.MOUNT_ATTR_NODIRATIME,
    "nosymfollow": kernel.MOUNT_ATTR_NOSYMFOLLOW,
}
OPPOSITES = {
    "ro": "rw",
    "nosuid": "suid",
    "nodev": "dev",
    "noexec": "exec",
    "nodiratime": "diratime",
    "nosymfollow": "symfollow",
}


def test_options_complete():
    """The table has every option of the specification and no other."""
    assert sorted(OPTIONS) == sorted(SPECIFIED)


@pytest.mark.parametrize("option", SPECIFIED)
def test_option_is_no_data(option):
    """No option of the specification reaches the filesystem as its own."""
    assert parse([option]).data == ""


@pytest.mark.parametrize("option", ATTRIBUTES)
def test_attribute(option):
    """An option sets its attribute, its opposite clears it, and the last one of both counts."""
    attribute, opposite = ATTRIBUTES[option], OPPOSITES[option]
    for options, bits in (
        ([option], (attribute, 0)),
        ([opposite], (0, attribute)),
        ([option, opposite], (0, attribute)),
        ([opposite, option], (attribute, 0)),
    ):
        found = parse(options)
        assert (found.set, found.clear, found.all_set, found.all_clear) == (*bits, 0, 0)
        found = parse([f"r{name}" for name in options])
        assert (found.set, found.clear, found.all_set, found.all_clear) == (0, 0, *bits)


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ("noatime", (kernel.MOUNT_ATTR_NOATIME, ATIME)),
        ("strictatime", (kernel.MOUNT_ATTR_STRICTATIME, ATIME)),
        ("relatime", (0, ATIME)),
        ("noatime relatime", (0, ATIME)),
        ("noatime strictatime", (kernel.MOUNT_ATTR_STRICTATIME, ATIME)),
        ("strictatime noatime", (kernel.MOUNT_ATTR_NOATIME, ATIME)),
        ("noatime atime", (0, ATIME)),
        ("strictatime atime", (kernel.MOUNT_ATTR_STRICTATIME, ATIME)),
        ("strictatime nostrictatime", (0, ATIME)),
        ("noatime nostrictatime", (kernel.MOUNT_ATTR_NOATIME, ATIME)),
        ("atime", (0, 0)),
        ("nostrictatime", (0, 0)),
        ("norelatime", (0, 0)),
        ("noatime nodiratime", (kernel.MOUNT_ATTR_NOATIME | kernel.MOUNT_ATTR_NODIRATIME, ATIME)),
    ],
)
def test_access_time(options, bits):
    """The access time's ways exclude each other, and what takes one back leaves another alone."""
    found = parse(options.split())
    assert (found.set, found.clear) == bits


@pytest.mark.parametrize(
    ("option", "bits"),
    [
        ("rnoatime", (kernel.MOUNT_ATTR_NOATIME, ATIME)),
        ("rstrictatime", (kernel.MOUNT_ATTR_STRICTATIME, ATIME)),
        ("rrelatime", (0, ATIME)),
        ("ratime", (0, ATIME)),
        ("rnostrictatime", (0, ATIME)),
        ("rnorelatime", (0, 0)),
    ],
)
def test_recursive_access_time(option, bits):
    """The recursive ways clear the whole field, as mount_setattr(2) demands."""
    found = parse([option])
    assert (found.all_set, found.all_clear) == bits


@given(st.lists(st.sampled_from(SPECIFIED)))
def test_kernel_takes_bits(options):
    """Whatever is combined: the access time is cleared as a whole or not at all, and set only where it is cleared."""
    found = parse(options)
    for bits, clear in ((found.set, found.clear), (found.all_set, found.all_clear)):
        assert clear & ATIME in (0, ATIME)
        assert not bits & ATIME or clear & ATIME == ATIME
        assert bits & ATIME in (0, kernel.MOUNT_ATTR_NOATIME, kernel.MOUNT_ATTR_STRICTATIME)


def test_superblock():
    """Options of the filesystem as a whole are MS_* flags, and the last of two opposites counts."""
    found = parse(["sync", "dirsync", "lazytime", "mand", "silent"])
    assert found.superblock == (
        kernel.MS_SYNCHRONOUS
        | kernel.MS_DIRSYNC
        | kernel.MS_LAZYTIME
        | kernel.MS_MANDLOCK
        | kernel.MS_SILENT
    )
    assert parse(["sync", "lazytime", "async", "nolazytime"]).superblock == 0


def test_data():
    """Unknown options are the filesystem's, in their order; empty ones and `defaults` mean nothing."""
    found = parse(["", "mode=755", "defaults", "nosuid", "size=1k", ""])
    assert (found.data, found.set) == ("mode=755,size=1k", kernel.MOUNT_ATTR_NOSUID)


def test_propagation():
    """Propagations keep their order: each is applied on its own."""
    assert parse(["rslave", "shared"]).propagation == (
        kernel.MS_SLAVE | kernel.MS_REC,
        kernel.MS_SHARED,
    )
    assert propagation("runbindable") == kernel.MS_UNBINDABLE | kernel.MS_REC
    assert propagation("ro") is None and propagation("x") is None


def test_words():
    """bind and rbind decide what it is; idmap, ridmap, tmpcopyup and remount are told."""
    found = parse(["rbind", "ridmap", "tmpcopyup", "remount"])
    assert (found.bind, found.idmap, found.copy_up, found.remount) == (
        "rbind",
        "ridmap",
        True,
        True,
    )
    assert parse(["rbind", "bind"]).bind == "bind"


def test_remount_flags():
    """A remount gets everything at once in the words of mount(2)."""
    assert parse(["ro", "nosuid", "sync", "noatime"]).mount_flags() == (
        kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_SYNCHRONOUS | kernel.MS_NOATIME
    )
    assert parse(["relatime"]).mount_flags() == kernel.MS_RELATIME
    assert parse([]).mount_flags() == 0
