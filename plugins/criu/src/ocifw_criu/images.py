"""The folder of images: CRIU's own files, runc's descriptors.json, and what ocifw notes beside them.

All of it comes from who wrote the folder, and is checked before it is used.
"""

from __future__ import annotations

import os

from ocifw import document
from ocifw.container import write_file
from ocifw.errors import OcifwError, errno_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DESCRIPTORS = "descriptors.json"
NOTES = "ocifw.json"
_LIMIT_BYTES = 1 << 20
_CHAIN_LIMIT = 64
_MAGIC = (0x54564319, 0x55105940)
"""IMG_COMMON_MAGIC and IMG_SERVICE_MAGIC of criu/include/magic.h: how an image of version 1.1 begins."""
_HEXADECIMAL = frozenset("0123456789abcdef")

_PE_PRESENT = 4
"""The flag of memory that is in this folder, not with a page server or in earlier images."""


def open_folder(path: str, make: bool = False, what: str = "image") -> int:
    """The folder as a file descriptor. make: it may be missing. Raises OcifwError with runc's text."""
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OcifwError(f"open {what} folder {path}: {errno_text(error.errno or 0)}") from error


def let_in(fd: int, config: dict[str, Any]) -> None:
    """Let root of the container's user namespace search a folder of images, and those of the earlier dumps it needs.

    CRIU opens some images as that user. Their files can be read by everybody (0644): who may search the folder matters, so
    that is only the group that this root has, by which nothing in the container gets there.
    """
    linux = config.get("linux") or {}
    gid = next((m["hostID"] for m in linux.get("gidMappings") or () if m["containerID"] == 0), 0)
    if not gid:
        return
    fds = [os.dup(fd)]
    try:
        while len(fds) < _CHAIN_LIMIT:
            found = os.fstat(fds[-1])
            if not found.st_mode & 0o001:
                os.fchown(fds[-1], -1, gid)
                os.fchmod(fds[-1], found.st_mode & 0o7777 & ~0o060 | 0o010)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            fds.append(os.open("parent", flags, dir_fd=fds[-1]))
    except FileNotFoundError:
        return
    finally:
        for one in fds:
            os.close(one)


def note(folder: str, descriptors: list[str], notes: dict[str, Any]) -> None:
    """Write both documents into the folder."""
    try:
        write_file(f"{folder}/{DESCRIPTORS}", document.dump(descriptors).encode())
        write_file(f"{folder}/{NOTES}", document.dump(notes).encode())
    except OSError as error:
        raise OcifwError(f"write {folder}/{DESCRIPTORS}: {errno_text(error.errno or 0)}") from error


def descriptors(folder: str) -> list[str]:
    """What the standard files were. Raises OcifwError when that is not a list of three short texts."""
    found = _read(folder, DESCRIPTORS)
    if (
        not isinstance(found, list)
        or len(found) > 3
        or not all(isinstance(one, str) and len(one) < 4096 for one in found)
    ):
        raise OcifwError(
            f"{folder}/{DESCRIPTORS}: not the standard files of a container: expected 3 texts"
        )
    return [*found, *[""] * (3 - len(found))]


def notes(folder: str) -> dict[str, Any]:
    """What ocifw noted; nothing in a folder that runc wrote. Raises OcifwError when it was changed into something else."""
    if not os.path.lexists(f"{folder}/{NOTES}"):
        return {}
    found = _read(folder, NOTES)
    files = found.get("files") if isinstance(found, dict) else None
    if (
        not isinstance(found, dict)
        or not isinstance(files, list)
        or len(files) != 3
        or not all(_is_foreign(one) for one in files)
    ):
        raise OcifwError(f"{folder}/{NOTES}: not what ocifw writes there")
    return found


def _is_foreign(name: Any) -> bool:
    """Whether this is "" or `file[MOUNT:INODE]`, both hexadecimal."""
    if name == "":
        return True
    if not (isinstance(name, str) and name.startswith("file[") and name.endswith("]")):
        return False
    mount, _, inode = name[5:-1].partition(":")
    return bool(mount and inode and _HEXADECIMAL.issuperset(mount + inode))


def _read(folder: str, name: str) -> Any:
    path = f"{folder}/{name}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OcifwError(f"open {path}: {errno_text(error.errno or 0)}") from error
    try:
        data = os.read(fd, _LIMIT_BYTES)
    except OSError as error:
        raise OcifwError(f"read {path}: {errno_text(error.errno or 0)}") from error
    finally:
        os.close(fd)
    return document.parse_foreign(data, path)


def check(folder: str, machine: str) -> None:
    """Raise OcifwError unless the folder holds the images of processes that this machine can run."""
    for name in ("inventory.img", "pstree.img"):
        if not os.path.isfile(f"{folder}/{name}"):
            raise OcifwError(
                f"{folder} holds no checkpoint: open {folder}/{name}: no such file or directory"
            )
    cores = sorted(
        name for name in os.listdir(folder) if name.startswith("core-") and name.endswith(".img")
    )
    if not cores:
        # What a pre-dump leaves has memory only.
        raise OcifwError(f"{folder} holds no processes: no core-*.img (a pre-dump, or incomplete)")
    found = architecture(f"{folder}/{cores[0]}")
    if found.lower() != machine.lower():
        raise OcifwError(
            f"{folder}: the images are of another architecture: {found}, not {machine}"
        )
    _check_pages(folder)


def _check_pages(folder: str) -> None:
    """Raise OcifwError when memory is missing in the images, as after a full disk: CRIU 4.1 asks for it for ever."""
    from . import rpc

    wanted: dict[int, int] = {}
    for name in sorted(os.listdir(folder)):
        if name.startswith("pagemap-") and name.endswith(".img"):
            found = rpc.pagemap(_entries(f"{folder}/{name}"))
            if not found:
                continue
            head, *rows = found
            pages = sum(
                row.nr_pages or getattr(row, "compat_nr_pages", 0)
                for row in rows
                if not row.in_parent and (not row.flags or row.flags & _PE_PRESENT)
            )
            wanted[head.pages_id] = wanted.get(head.pages_id, 0) + pages
    for number, pages in wanted.items():
        path = f"{folder}/pages-{number}.img"
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size < pages * os.sysconf("SC_PAGESIZE"):
            raise OcifwError(f"{path}: incomplete: {size} bytes of {pages} pages of memory")


def _entries(path: str) -> list[bytes]:
    """The entries of an image: each has its length before it. Raises OcifwError: no image of CRIU."""
    with open(path, "rb") as file:
        data = file.read()
    entries = []
    try:
        position = 8
        _sizes(data[:12])
        while position < len(data):
            size = int.from_bytes(data[position : position + 4], "little")
            entry = data[position + 4 : position + 4 + size]
            if len(entry) < size:
                raise ValueError("cut short")
            entries.append(entry)
            position += 4 + size
    except ValueError as error:
        raise OcifwError(f"{path} is no image of CRIU: {error}") from error
    return entries


def architecture(path: str) -> str:
    """The architecture that a core image was made on, by the kernel's name. Raises OcifwError: no image of CRIU."""
    from . import rpc

    entry = rpc.core_entry()
    try:
        with open(path, "rb") as file:
            size = _sizes(file.read(12))
            entry.ParseFromString(file.read(size))
        kinds = entry.DESCRIPTOR.fields_by_name["mtype"].enum_type
        return str(kinds.values_by_number[entry.mtype].name)
    except OSError as error:
        raise OcifwError(f"open {path}: {errno_text(error.errno or 0)}") from error
    except Exception as error:
        raise OcifwError(f"{path} is no image of CRIU: {error}") from error


def _sizes(head: bytes) -> int:
    """The length of an image's first entry, from its first 12 bytes: two magic numbers before it."""
    if len(head) < 12 or int.from_bytes(head[:4], "little") not in _MAGIC:
        raise ValueError("another magic number")
    return int.from_bytes(head[8:], "little")
