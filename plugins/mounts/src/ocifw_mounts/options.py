"""Mount options: the table of config.md (Linux mount options), and what a list of them comes to.

Per-mount options are kept as MOUNT_ATTR_* of mount_setattr(2), those of the superblock as MS_* of mount(2). Of options
that contradict each other the last one counts, as in mount(8).
"""

from __future__ import annotations

from ocifw.linux.mount import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_DIRSYNC,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ATTRIBUTE = "attribute"
SUPERBLOCK = "superblock"
PROPAGATION = "propagation"
RECURSIVE = "recursive"
WORD = "word"

# Option: kind, bits to set, bits to clear. The access time is one field of several bits to the kernel: whatever names
# a way of keeping it clears them all; to clear one bit only takes back what an earlier option of the list has set.
# WORD: no bits; what it means stands in `parse`.
OPTIONS: dict[str, tuple[str, int, int]] = {
    "async": (SUPERBLOCK, 0, MS_SYNCHRONOUS),
    "atime": (ATTRIBUTE, 0, MOUNT_ATTR_NOATIME),
    "bind": (WORD, 0, 0),
    "defaults": (WORD, 0, 0),
    "dev": (ATTRIBUTE, 0, MOUNT_ATTR_NODEV),
    "diratime": (ATTRIBUTE, 0, MOUNT_ATTR_NODIRATIME),
    "dirsync": (SUPERBLOCK, MS_DIRSYNC, 0),
    "exec": (ATTRIBUTE, 0, MOUNT_ATTR_NOEXEC),
    "idmap": (WORD, 0, 0),
    # Filesystems that can count versions do it always, since Linux 6.1 at the latest; there is no flag to ask for it.
    "iversion": (WORD, 0, 0),
    "lazytime": (SUPERBLOCK, MS_LAZYTIME, 0),
    "loud": (SUPERBLOCK, 0, MS_SILENT),
    "mand": (SUPERBLOCK, MS_MANDLOCK, 0),
    "noatime": (ATTRIBUTE, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "nodev": (ATTRIBUTE, MOUNT_ATTR_NODEV, 0),
    "nodiratime": (ATTRIBUTE, MOUNT_ATTR_NODIRATIME, 0),
    "noexec": (ATTRIBUTE, MOUNT_ATTR_NOEXEC, 0),
    "noiversion": (WORD, 0, 0),
    "nolazytime": (SUPERBLOCK, 0, MS_LAZYTIME),
    "nomand": (SUPERBLOCK, 0, MS_MANDLOCK),
    # Relatime is what the kernel does without being asked: it can only be left for another way.
    "norelatime": (WORD, 0, 0),
    "nostrictatime": (ATTRIBUTE, 0, MOUNT_ATTR_STRICTATIME),
    "nosuid": (ATTRIBUTE, MOUNT_ATTR_NOSUID, 0),
    "nosymfollow": (ATTRIBUTE, MOUNT_ATTR_NOSYMFOLLOW, 0),
    "private": (PROPAGATION, MS_PRIVATE, 0),
    "ratime": (RECURSIVE, 0, MOUNT_ATTR__ATIME),
    "rbind": (WORD, 0, 0),
    "rdev": (RECURSIVE, 0, MOUNT_ATTR_NODEV),
    "rdiratime": (RECURSIVE, 0, MOUNT_ATTR_NODIRATIME),
    "relatime": (ATTRIBUTE, 0, MOUNT_ATTR__ATIME),
    "remount": (WORD, 0, 0),
    "rexec": (RECURSIVE, 0, MOUNT_ATTR_NOEXEC),
    "ridmap": (WORD, 0, 0),
    "rnoatime": (RECURSIVE, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "rnodev": (RECURSIVE, MOUNT_ATTR_NODEV, 0),
    "rnodiratime": (RECURSIVE, MOUNT_ATTR_NODIRATIME, 0),
    "rnoexec": (RECURSIVE, MOUNT_ATTR_NOEXEC, 0),
    "rnorelatime": (WORD, 0, 0),
    "rnostrictatime": (RECURSIVE, 0, MOUNT_ATTR__ATIME),
    "rnosuid": (RECURSIVE, MOUNT_ATTR_NOSUID, 0),
    "rnosymfollow": (RECURSIVE, MOUNT_ATTR_NOSYMFOLLOW, 0),
    "ro": (ATTRIBUTE, MOUNT_ATTR_RDONLY, 0),
    "rprivate": (PROPAGATION, MS_PRIVATE | MS_REC, 0),
    "rrelatime": (RECURSIVE, 0, MOUNT_ATTR__ATIME),
    "rro": (RECURSIVE, MOUNT_ATTR_RDONLY, 0),
    "rrw": (RECURSIVE, 0, MOUNT_ATTR_RDONLY),
    "rshared": (PROPAGATION, MS_SHARED | MS_REC, 0),
    "rslave": (PROPAGATION, MS_SLAVE | MS_REC, 0),
    "rstrictatime": (RECURSIVE, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "rsuid": (RECURSIVE, 0, MOUNT_ATTR_NOSUID),
    "rsymfollow": (RECURSIVE, 0, MOUNT_ATTR_NOSYMFOLLOW),
    "runbindable": (PROPAGATION, MS_UNBINDABLE | MS_REC, 0),
    "rw": (ATTRIBUTE, 0, MOUNT_ATTR_RDONLY),
    "shared": (PROPAGATION, MS_SHARED, 0),
    "silent": (SUPERBLOCK, MS_SILENT, 0),
    "slave": (PROPAGATION, MS_SLAVE, 0),
    "strictatime": (ATTRIBUTE, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "suid": (ATTRIBUTE, 0, MOUNT_ATTR_NOSUID),
    "symfollow": (ATTRIBUTE, 0, MOUNT_ATTR_NOSYMFOLLOW),
    "sync": (SUPERBLOCK, MS_SYNCHRONOUS, 0),
    "tmpcopyup": (WORD, 0, 0),
    "unbindable": (PROPAGATION, MS_UNBINDABLE, 0),
}

_CACHE_LIMIT = 1000

_parsed: dict[tuple[str, ...], MountOptions] = {}


class MountOptions:
    """What a list of mount options comes to. Not changed after `parse` has made it.

    set, clear: MOUNT_ATTR_* of the mount itself; all_set, all_clear: of it and all below it. superblock: MS_*.
    propagation: MS_* to be applied one after the other once it is mounted. bind: "", "bind" or "rbind".
    idmap: "", "idmap" or "ridmap". data: the filesystem's own options, comma separated.
    """

    __slots__ = (
        "all_clear",
        "all_set",
        "bind",
        "clear",
        "copy_up",
        "data",
        "idmap",
        "propagation",
        "remount",
        "set",
        "superblock",
    )

    def __init__(self) -> None:
        self.set = self.clear = self.all_set = self.all_clear = self.superblock = 0
        self.propagation: tuple[int, ...] = ()
        self.bind = self.idmap = self.data = ""
        self.copy_up = self.remount = False

    @property
    def read_only(self) -> bool:
        """Whether the topmost mount is to be read-only."""
        return bool((self.set & ~self.all_clear | self.all_set) & MOUNT_ATTR_RDONLY)

    def mount_flags(self) -> int:
        """Everything as MS_* of mount(2), which a remount replaces all at once."""
        flags = self.superblock
        for attribute, flag in (
            (MOUNT_ATTR_RDONLY, MS_RDONLY),
            (MOUNT_ATTR_NOSUID, MS_NOSUID),
            (MOUNT_ATTR_NODEV, MS_NODEV),
            (MOUNT_ATTR_NOEXEC, MS_NOEXEC),
            (MOUNT_ATTR_NODIRATIME, MS_NODIRATIME),
            (MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW),
            (MOUNT_ATTR_NOATIME, MS_NOATIME),
            (MOUNT_ATTR_STRICTATIME, MS_STRICTATIME),
        ):
            if self.set & attribute:
                flags |= flag
        if self.clear & MOUNT_ATTR__ATIME and not self.set & MOUNT_ATTR__ATIME:
            flags |= MS_RELATIME
        return flags


def parse(options: Sequence[str]) -> MountOptions:
    """What the options come to. Empty ones, which engines write, mean nothing; unknown ones are the filesystem's."""
    key = tuple(options)
    found = _parsed.get(key)
    if found is None:
        if len(_parsed) >= _CACHE_LIMIT:
            _parsed.clear()
        found = _parsed[key] = _parse(key)
    return found


def propagation(name: str) -> int | None:
    """The MS_* of a propagation by its name, as linux.rootfsPropagation has it; None when it is none."""
    kind, flags, _ = OPTIONS.get(name, (WORD, 0, 0))
    return flags if kind is PROPAGATION else None


def _parse(options: tuple[str, ...]) -> MountOptions:
    result = MountOptions()
    data = []
    for option in options:
        known = OPTIONS.get(option)
        if known is None:
            if option:
                data.append(option)
            continue
        kind, bits, clear = known
        if kind is ATTRIBUTE:
            result.set = result.set & ~clear | bits
            result.clear = result.clear & ~bits | clear
        elif kind is PROPAGATION:
            result.propagation += (bits,)
        elif kind is SUPERBLOCK:
            result.superblock = result.superblock & ~clear | bits
        elif kind is RECURSIVE:
            result.all_set = result.all_set & ~clear | bits
            result.all_clear = result.all_clear & ~bits | clear
        elif option in ("bind", "rbind"):
            result.bind = option
        elif option in ("idmap", "ridmap"):
            result.idmap = option
        elif option == "tmpcopyup":
            result.copy_up = True
        elif option == "remount":
            result.remount = True
    result.clear = _whole_atime(result.clear)
    result.all_clear = _whole_atime(result.all_clear)
    result.data = ",".join(data)
    return result


def _whole_atime(clear: int) -> int:
    """The bits to clear, where those of the access time are all or none: the kernel refuses some of them."""
    whole = clear & MOUNT_ATTR__ATIME == MOUNT_ATTR__ATIME
    return clear if whole else clear & ~MOUNT_ATTR__ATIME
