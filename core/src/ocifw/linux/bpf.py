"""bpf(2): loading a program, and attaching it to a cgroup (kernel 4.15; in user namespaces never allowed)."""

from __future__ import annotations

from _struct import pack, unpack_from

from ._kernel import address, numbers, syscall

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2

_INSTRUCTION_BYTES = 8
_PROGRAMS_LIMIT = 64
_LOG_BYTES = 1 << 16


def prog_load(
    prog_type: int, instructions: bytes, license: bytes = b"GPL", log: bool = False
) -> int:
    """Load a program; returns its file descriptor, close-on-exec.

    EPERM: no CAP_BPF and CAP_NET_ADMIN (before Linux 5.11 also: RLIMIT_MEMLOCK is too low). EINVAL or EACCES: the
    verifier refuses it; with `log` the error's filename is what the verifier says.
    """
    name = license + b"\0"
    text = bytearray(_LOG_BYTES if log else 0)
    attributes = pack(
        "<IIQQIIQ",
        prog_type,
        len(instructions) // _INSTRUCTION_BYTES,
        address(instructions),
        address(name),
        int(log),
        len(text),
        address(text) if log else 0,
    )
    try:
        return syscall(numbers["bpf"], BPF_PROG_LOAD, attributes, len(attributes))
    except OSError as error:
        if log:
            error.filename = text.rstrip(b"\0").decode(errors="replace")
        raise


def prog_attach(
    target_fd: int, prog_fd: int, attach_type: int, flags: int = 0, replace_fd: int = 0
) -> None:
    """Attach a program to a cgroup, where it stays until the cgroup is removed.

    With BPF_F_REPLACE (kernel 5.6) in the place of the program `replace_fd`. EPERM: no privilege, or other programs are
    attached there with other flags. EINVAL: an unknown flag.
    """
    attributes = pack("<5I", target_fd, prog_fd, attach_type, flags, replace_fd)
    if not replace_fd:
        # Kernels before 5.6 take no longer structure.
        attributes = attributes[:16]
    syscall(numbers["bpf"], BPF_PROG_ATTACH, attributes, len(attributes))


def prog_detach(target_fd: int, prog_fd: int, attach_type: int) -> None:
    """Detach a program from a cgroup. ENOENT: it is not attached there."""
    attributes = pack("<4I", target_fd, prog_fd, attach_type, 0)
    syscall(numbers["bpf"], BPF_PROG_DETACH, attributes, len(attributes))


def prog_query(target_fd: int, attach_type: int) -> list[int]:
    """The ids of the programs that are attached to this very cgroup. EINVAL before Linux 4.15."""
    ids = bytearray(4 * _PROGRAMS_LIMIT)
    attributes = bytearray(
        pack("<4IQI", target_fd, attach_type, 0, 0, address(ids), _PROGRAMS_LIMIT)
    )
    syscall(numbers["bpf"], BPF_PROG_QUERY, attributes, len(attributes))
    count: int = unpack_from("<I", attributes, 24)[0]
    return list(unpack_from(f"<{count}I", ids))


def prog_get_fd_by_id(prog_id: int) -> int:
    """A file descriptor, close-on-exec, of a loaded program. ENOENT: there is none with this id."""
    attributes = pack("<3I", prog_id, 0, 0)
    return syscall(numbers["bpf"], BPF_PROG_GET_FD_BY_ID, attributes, len(attributes))
