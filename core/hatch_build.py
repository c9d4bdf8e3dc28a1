"""Hatchling's build hook: compiles native/ and puts the results into the wheel.

ocifw/bin/ocifw-init and ocifw/linux/_kernel.abi3.so are package data; the `ocifw` command is a script of the wheel. The
extension module would serve every Python from 3.11 on, but the command knows the one minor version that it starts: the
wheel's tag is that of the building interpreter.

With a compiler for another machine the wheel is that machine's: CC=aarch64-linux-gnu-gcc. Nothing else of the other machine
is needed, since the extension module keeps to the limited API.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent / "native"))
from build_native import BuildError, build_all

sys.path.pop(0)


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]  # generic only in some versions of hatchling
    """Compiles into a folder of its own, so that the checkout stays as it is."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell hatchling what goes where. Ends the build with a plain sentence when it cannot."""
        self.folder = tempfile.TemporaryDirectory(prefix="ocifw-build-")
        folder = Path(self.folder.name)
        compiler = os.environ.get("CC") or "gcc"
        machine = machine_of(compiler)
        try:
            if machine != os.uname().machine:
                os.environ["CC"] = f"{compiler} -I{headers_for(machine, folder)}"
            init, kernel, command = build_all(folder)
        except BuildError as error:
            self.folder.cleanup()
            self.app.abort(f"\nerror: {error}\n")
        build_data["pure_python"] = False
        if machine == os.uname().machine:
            build_data["infer_tag"] = True
        else:
            version = f"cp3{sys.version_info.minor}"
            build_data["tag"] = f"{version}-{version}-linux_{machine}"
        build_data["force_include"][str(init)] = "ocifw/bin/ocifw-init"
        build_data["force_include"][str(kernel)] = "ocifw/linux/_kernel.abi3.so"
        build_data["shared_scripts"][str(command)] = "ocifw"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled: it is in the wheel now."""
        self.folder.cleanup()


def machine_of(compiler: str) -> str:
    """The machine that a compiler compiles for, as `uname -m` says it: this one where the compiler does not tell."""
    command = [*shlex.split(compiler), "-dumpmachine"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        # What is missing is told when it is built.
        return os.uname().machine
    triplet = done.stdout.strip()
    return triplet.partition("-")[0] if done.returncode == 0 and triplet else os.uname().machine


def headers_for(machine: str, folder: Path) -> Path:
    """A folder of headers beside this machine's: Debian's pyconfig.h includes one by the compiler's machine.

    It gets this machine's. Both are 64 bits wide and little-endian, which is all that the limited API asks of it.
    """
    own = sysconfig.get_config_var("MULTIARCH") or ""
    name = f"python3.{sys.version_info.minor}"
    made = folder / "headers" / f"{machine}-linux-gnu" / name
    made.mkdir(parents=True)
    there = Path("/usr/include", own, name, "pyconfig.h")
    if there.exists():
        (made / "pyconfig.h").symlink_to(there)
    return folder / "headers"
