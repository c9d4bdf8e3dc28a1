"""ocifw for the test machine: what is installed in the checkout's environment, for the machine's Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from image import PYTHON

ROOT = Path(__file__).resolve().parents[2]
INSTALL = f"""
cp -r {{stage}}/site-packages/. /opt/venv/lib/{PYTHON}/site-packages/
install -m 755 {{stage}}/ocifw /opt/venv/bin/ocifw
export PATH=/opt/venv/bin:$PATH PYTHONPYCACHEPREFIX=/tmp/pycache
"""
"""What the machine does with the folder that `fill` filled."""


def fill(folder: Path, image: Path) -> None:
    """Copy every installed distribution of this repository into `folder`, with bytecode, and make the `ocifw` command.

    The extension module has the stable ABI and ocifw-init no libc: both are those of this machine. Raises
    FileNotFoundError when ocifw is not installed for the running interpreter.
    """
    packages = folder / "site-packages"
    packages.mkdir()
    installed = Path(sysconfig.get_path("purelib"))
    ignore = shutil.ignore_patterns("__pycache__")
    names = [path.name for path in installed.glob("ocifw*") if path.is_dir()]
    if "ocifw" not in names:
        raise FileNotFoundError(f"{installed}/ocifw: not installed there: ./dev setup test")
    for name in names:
        shutil.copytree(installed / name, packages / name, ignore=ignore)
    # The machine is emulated and compiles slowly; its Python runs here, too.
    command = [image / "host" / PYTHON, "-S", "-m", "compileall", "-q", "-s", packages,
               "--invalidation-mode", "unchecked-hash", packages]  # fmt: skip
    environment = {**os.environ, "PYTHONHOME": str(image / "host")}
    subprocess.run(command, check=True, env=environment)
    sys.path.insert(0, str(ROOT / "core" / "native"))
    from build_native import build_entry, generate_ops

    generate_ops(folder)
    build_entry(folder, os.environ.get("CC") or "gcc", int(PYTHON.rpartition(".")[2]))
