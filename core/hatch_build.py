"""Hatchling's build hook: compiles native/ and puts the results into the wheel.

ocifw/bin/ocifw-init and ocifw/linux/_kernel.abi3.so are package data; the `ocifw` command is a script of the wheel. The
extension module would serve every Python from 3.11 on, but the command knows the one minor version that it starts: the
wheel's tag is that of the building interpreter.
"""

from __future__ import annotations

import sys
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
        try:
            init, kernel, command = build_all(Path(self.folder.name))
        except BuildError as error:
            self.folder.cleanup()
            self.app.abort(f"\nerror: {error}\n")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"][str(init)] = "ocifw/bin/ocifw-init"
        build_data["force_include"][str(kernel)] = "ocifw/linux/_kernel.abi3.so"
        build_data["shared_scripts"][str(command)] = "ocifw"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled: it is in the wheel now."""
        self.folder.cleanup()
