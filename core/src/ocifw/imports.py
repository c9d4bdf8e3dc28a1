"""What importing a module drags in: modules that cost so much at start-up that plugins must not import them (cold-start)."""

from __future__ import annotations

import subprocess
import sys

HEAVY_MODULES = (
    "argparse", "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "email", "enum", "functools", "http",
    "importlib.metadata", "inspect", "json", "jsonschema", "logging", "pathlib", "pluggy", "pyroute2", "random", "re",
    "ruamel.yaml", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "typing", "urllib",
    "uuid", "yaml",
)  # fmt: skip
"""Imported at module level they cost from half a millisecond (signal) to a hundred (pyroute2); in a function, when needed."""

_CODE = """
import os, sys
sys.path[:0] = sys.argv[2:]
before = set(sys.modules)
__import__(sys.argv[1])
print(" ".join(sorted(set(sys.modules) - before)))
"""


def imported_by(module: str, *folders: str) -> list[str]:
    """The modules that an interpreter without `site` has to import for this one, found in `folders`.

    Raises ImportError with what the interpreter says when it cannot.
    """
    command = [sys.executable, "-I", "-S", "-B", "-c", _CODE, module, *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ImportError(done.stderr.strip().rpartition("\n")[2])
    return done.stdout.split()


def heavy_imports(module: str, *folders: str) -> list[str]:
    """Those of HEAVY_MODULES that importing this module imports."""
    return [name for name in imported_by(module, *folders) if name in HEAVY_MODULES]
