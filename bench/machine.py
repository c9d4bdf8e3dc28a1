"""The machine and the programs that figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def cgroup_layout() -> str:
    """v2, v1 or hybrid, as far as /sys/fs/cgroup shows."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "hybrid" if Path("/sys/fs/cgroup/unified").exists() else "v1"


def describe(runtimes: dict[str, str]) -> list[str]:
    """Lines about processor, kernel, interpreter and the runtimes, without anything that names the host."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return [
        f"{os.cpu_count()} × {model}, Linux {platform.release()}, cgroup {cgroup_layout()}",
        f"Python {platform.python_version()}",
        *(f"{name}: {first_line(path, '--version')}" for name, path in runtimes.items()),
    ]
