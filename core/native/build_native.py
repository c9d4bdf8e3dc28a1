"""Build the native parts with a plain C compiler: ocifw-init, ocifw.linux._kernel and the `ocifw` command.

    python3 build_native.py FOLDER
    python3 build_native.py --launcher FOLDER

The second builds the `ocifw` command with the interpreter inside (launcher.c), where its static library is installed.

Needs nothing but the standard library, gcc (or $CC) with the C library's and the kernel's headers, and Python.h of the
interpreter that runs it. Used by hatch_build.py when `ocifw-core` is installed, and by tests. The result depends
only on the sources and the compiler: no paths, dates or build ids are in it.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

NATIVE = Path(__file__).resolve().parent

WARNINGS = ("-Wall", "-Wextra")
REPRODUCIBLE = (f"-ffile-prefix-map={NATIVE}=native", "-Wl,--build-id=none")
FREESTANDING = (
    "-std=c11",
    "-Os",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-pie",
    "-nostdlib",
    "-static",
    "-no-pie",
    "-fno-asynchronous-unwind-tables",
    "-Wl,-z,noexecstack",
    "-s",
)


class BuildError(Exception):
    """What is missing on this machine, or what the compiler said."""


def compile_c(compiler: str, *arguments: str | Path) -> None:
    """Run the compiler. Raises BuildError with its command line and messages when it fails or is missing."""
    command = [*shlex.split(compiler), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        raise BuildError(
            f"the C compiler {command[0]!r} was not found: ocifw builds its native parts with gcc when it is installed "
            "(Debian: apt-get install gcc libc6-dev)"
        ) from None
    if done.returncode:
        hint = ""
        if "asm/" in done.stderr or "stdint.h" in done.stderr:
            hint = "\nThe C headers seem to be missing (Debian: apt-get install libc6-dev)"
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr}{hint}")


def generate_ops(folder: Path) -> None:
    """Write ops.h, made from ocifw/steps.py, into `folder`."""
    generator = NATIVE / "generate_ops.py"
    # In a process of its own: whatever `ocifw` this one has imported is not what is being built.
    subprocess.run([sys.executable, "-I", "-B", generator, folder / "ops.h"], check=True)


def build_init(folder: Path, compiler: str) -> Path:
    """ocifw-init, in `folder`, which must hold ops.h."""
    path = folder / "ocifw-init"
    sources = sorted((NATIVE / "init").glob("*.c"))
    compile_c(
        compiler, *FREESTANDING, *WARNINGS, *REPRODUCIBLE, f"-I{folder}", *sources, "-o", path
    )
    return path


def build_entry(folder: Path, compiler: str, minor: int = sys.version_info.minor) -> Path:
    """The `ocifw` command for Python 3.`minor`, in `folder`, which must hold ops.h."""
    path = folder / "ocifw"
    sources = (NATIVE / "entry.c", NATIVE / "init" / "string.c")
    flags = (*FREESTANDING, *WARNINGS, *REPRODUCIBLE, f"-DPYTHON_MINOR={minor}", f"-I{folder}")
    compile_c(compiler, *flags, *sources, "-o", path)
    return path


def build_kernel(folder: Path, compiler: str) -> Path:
    """The extension module ocifw.linux._kernel, in `folder`. Raises BuildError without Python.h."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise BuildError(
            "free-threaded builds of Python have no stable ABI: use the usual build of Python"
        )
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BuildError(
            f"{include / 'Python.h'} was not found: ocifw builds an extension module when it is installed and needs "
            f"the headers of Python {version} (Debian: apt-get install python3-dev, or python{version}-dev)"
        )
    path = folder / "_kernel.abi3.so"
    flags = ("-shared", "-fPIC", "-O2", "-fvisibility=hidden", "-Wl,-z,relro,-z,now", "-s")
    compile_c(
        compiler, *flags, *WARNINGS, *REPRODUCIBLE, f"-I{include}", NATIVE / "kernel.c", "-o", path
    )
    return path


def build_launcher(folder: Path, compiler: str) -> Path:
    """The `ocifw` command with this interpreter inside, in `folder`. Raises BuildError where it cannot be built."""
    get = sysconfig.get_config_var
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    include = Path(sysconfig.get_path("include"))
    library = Path(get("LIBPL") or "", get("LIBRARY") or "")
    for path in (include / "Python.h", library):
        if not path.is_file():
            raise BuildError(
                f"{path} was not found: the native command needs the headers and the static library of Python {version} "
                f"(Debian: apt-get install libpython{version}-dev)"
            )
    if sys.implementation.name != "cpython" or get("Py_GIL_DISABLED"):
        raise BuildError("the native command is for the usual build of CPython only")
    magic = int.from_bytes(importlib.util.MAGIC_NUMBER, "little")
    path = folder / "ocifw-native"
    # As the interpreter itself is linked; extension modules find its functions in the program.
    flags = ["-O2", "-fno-pie", "-no-pie", "-Wl,--export-dynamic", "-Wl,-z,relro,-z,now"]
    flags += [
        f"-DPYTHON_MINOR={sys.version_info.minor}",
        f"-DPYTHON_MAGIC={magic}u",
        f"-I{include}",
    ]
    libraries = " ".join(filter(None, [get("LIBS"), get("MODLIBS"), get("SYSLIBS")])).split()
    sources = (NATIVE / "launcher.c", NATIVE / "kernel.c")
    compile_c(compiler, *flags, *WARNINGS, *REPRODUCIBLE, *sources, library, *libraries, "-o", path)
    return path


def build_all(folder: Path) -> tuple[Path, Path, Path]:
    """All three, in `folder`: ocifw-init, the extension module, the command."""
    compiler = os.environ.get("CC") or "gcc"
    kernel = build_kernel(folder, compiler)
    generate_ops(folder)
    return build_init(folder, compiler), kernel, build_entry(folder, compiler)


if __name__ == "__main__":
    folder = Path(sys.argv[-1]).resolve()
    try:
        if "--launcher" in sys.argv[1:-1]:
            print(build_launcher(folder, os.environ.get("CC") or "gcc"))
        else:
            print(*build_all(folder), sep="\n")
    except BuildError as error:
        sys.exit(f"error: {error}")
