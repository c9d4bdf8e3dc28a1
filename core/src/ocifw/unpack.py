"""Unpacking a tar archive of a root filesystem, which is not trusted, below one folder and nowhere else.

tarfile's own filters came with Python 3.11.4, and refuse the absolute links that every root filesystem has. Here each path
is resolved by file descriptors with the new root as `/`, as the container will see it: a link in the archive can lead
the members behind it astray, but never out.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from .errors import OcifwError, errno_text
from .linux.openat2 import open_in_root

if TYPE_CHECKING:
    import tarfile
    from pathlib import Path


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Unpack files, folders, symbolic and hard links below `folder`, which must be empty; as root with their numeric owners.

    Devices, FIFOs and sockets are left out: the runtime makes the devices that a container needs. Raises OcifwError for
    a name with `..`, for a link to what is not there, and for a member that cannot be made.
    """
    root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    folders: list[tuple[str, tarfile.TarInfo]] = []
    try:
        for member in archive:
            name = _inside(member.name, archive)
            try:
                if member.isdir():
                    _make_folders(root, name)
                    folders.append((name, member))
                elif name and (member.isreg() or member.issym() or member.islnk()):
                    _make_file(archive, root, name, member)
            except OSError as error:
                text = errno_text(error.errno or 0)
                raise OcifwError(f"{_name(archive)}: {member.name}: {text}") from error
        # Last, because a folder may be one that nobody can write to; the deepest first.
        for name, member in reversed(folders):
            fd = open_in_root(root, name or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                _set_attributes(fd, member)
            finally:
                os.close(fd)
    finally:
        os.close(root)


def _name(archive: tarfile.TarFile) -> str:
    return os.fsdecode(archive.name or "archive")


def _inside(name: str, archive: tarfile.TarFile) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OcifwError(f"{_name(archive)}: {name!r} leads outside")
    return "/".join(parts)


def _make_folders(root: int, name: str) -> None:
    """Make a folder, and those above it, unless they are there."""
    made = ""
    for part in name.split("/") if name else ():
        parent = open_in_root(root, made or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(part, 0o755, dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)
        made = f"{made}/{part}" if made else part


def _make_file(archive: tarfile.TarFile, root: int, name: str, member: tarfile.TarInfo) -> None:
    above, _, last = name.rpartition("/")
    parent = _open_folder(root, above)
    try:
        try:
            os.unlink(last, dir_fd=parent)
        except FileNotFoundError:
            pass
        if member.issym():
            os.symlink(member.linkname, last, dir_fd=parent)
            if os.geteuid() == 0:
                os.chown(last, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        elif member.islnk():
            _link(archive, root, member, parent, last)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(last, flags, 0o600, dir_fd=parent)
            with open(fd, "wb") as file:
                content = archive.extractfile(member)
                if content is not None:
                    shutil.copyfileobj(content, file)
                file.flush()
                _set_attributes(fd, member)
    finally:
        os.close(parent)


def _open_folder(root: int, name: str) -> int:
    try:
        return open_in_root(root, name or ".", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        _make_folders(root, name)
    return open_in_root(root, name, os.O_PATH | os.O_DIRECTORY)


def _link(
    archive: tarfile.TarFile, root: int, member: tarfile.TarInfo, parent: int, last: str
) -> None:
    above, _, target = _inside(member.linkname, archive).rpartition("/")
    try:
        folder = open_in_root(root, above or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(target, last, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        raise OcifwError(
            f"{_name(archive)}: {member.name}: links to {member.linkname}, which is not there"
        ) from None


def _set_attributes(fd: int, member: tarfile.TarInfo) -> None:
    if os.geteuid() == 0:
        os.fchown(fd, member.uid, member.gid)
    # After fchown(2), which takes the set-id bits away.
    os.fchmod(fd, member.mode & 0o7777)
    os.utime(fd, (member.mtime, member.mtime))
