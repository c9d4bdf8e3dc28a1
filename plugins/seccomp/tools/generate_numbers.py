"""Write src/ocifw_seccomp/numbers/*.py: the system call numbers of each architecture, by name.

    python3 tools/generate_numbers.py [UAPI_HEADERS]

Names and numbers are those that libseccomp knows (asked through ctypes), so that profiles mean here what they mean
elsewhere, plus those of newer kernels: UAPI_HEADERS is a folder of kernel headers with `x86/asm/unistd_64.h` and its
like below it (Debian's linux-libc-dev has it as /usr/lib/linux/uapi). Without it, numbers that an earlier run found
and libseccomp does not know are kept. Stops when the two sources contradict each other.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "ocifw_seccomp" / "numbers"
ERROR = -1
X32_BIT = 0x40000000

# name: libseccomp's token (seccomp.h), the header below UAPI_HEADERS, what is added to its numbers
ARCHITECTURES = {
    "x86_64": (0xC000003E, "x86/asm/unistd_64.h", 0),
    "x86": (0x40000003, "x86/asm/unistd_32.h", 0),
    "x32": (0x4000003E, "x86/asm/unistd_x32.h", X32_BIT),
    "aarch64": (0xC00000B7, "arm64/asm/unistd_64.h", 0),
    "arm": (0x40000028, "arm/asm/unistd-eabi.h", 0),
}
HIGHEST = 1024
ARM_PRIVATE = range(0x0F0000, 0x0F0010)


def main(arguments: list[str]) -> None:
    headers = Path(arguments[0]) if arguments else None
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"))
    for name, (token, header, offset) in ARCHITECTURES.items():
        numbers = dict(written(name))
        if headers:
            numbers = from_header(headers / header, offset)
        known = from_libseccomp(library, name, token)
        for call in known.keys() & numbers.keys():
            if known[call] != numbers[call]:
                sys.exit(
                    f"{name}: {call} is {known[call]} to libseccomp, {numbers[call]} to the kernel"
                )
        (PACKAGE / f"{name}.py").write_text(module(name, numbers | known))
        print(f"{name}: {len(known)} of libseccomp, {len(numbers.keys() - known.keys())} newer")


def from_libseccomp(library: ctypes.CDLL, name: str, token: int) -> dict[str, int]:
    """What libseccomp calls each number of an architecture, and calls it back by the same raw number."""
    resolve = library.seccomp_syscall_resolve_num_arch
    resolve.restype = ctypes.c_void_p
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_int]
    libc = ctypes.CDLL(None)
    libc.free.argtypes = [ctypes.c_void_p]
    base = X32_BIT if name == "x32" else 0
    candidates = [base + number for number in range(HIGHEST)]
    if name == "arm":
        candidates += ARM_PRIVATE
    found = {}
    for number in candidates:
        pointer = resolve(token, number)
        if pointer:
            found[ctypes.string_at(pointer).decode()] = number
            libc.free(pointer)
    return found


def from_header(path: Path, offset: int) -> dict[str, int]:
    """The numbers that a header of the kernel defines."""
    found = {}
    for call, value in re.findall(
        r"^#define __NR_(\w+)\s+(.+?)\s*$", path.read_text(), re.MULTILINE
    ):
        number = re.search(r"(\d+)\)?$", value)
        if number:
            found[call] = offset + int(number[1])
    return found


def written(name: str) -> dict[str, int]:
    """The numbers of the module that is there."""
    path = PACKAGE / f"{name}.py"
    if not path.exists():
        return {}
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    numbers: dict[str, int] = there.NUMBERS
    return numbers


def module(name: str, numbers: dict[str, int]) -> str:
    """The text of a module, several entries to a line."""
    lines = [
        f'"""The system call numbers of {name}. Written by tools/generate_numbers.py."""',
        "",
        "from __future__ import annotations",
        "",
        "# fmt: off",
        "NUMBERS: dict[str, int] = {",
    ]
    line = "   "
    for call, number in sorted(numbers.items(), key=lambda item: (item[1], item[0])):
        entry = f' "{call}": {number},'
        if len(line) + len(entry) > 100:
            lines.append(line)
            line = "   "
        line += entry
    return "\n".join([*lines, line, "}", "# fmt: on", ""])


if __name__ == "__main__":
    main(sys.argv[1:])
