"""Real containers for tests of plugins: through the command line, with folders, cgroups and a plugin set of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING
from uuid import uuid4

from ocifw.record import Record
from ocifw.selection import library

from .bundles import config_of, write_bundle

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

# As the command does it, but for where set files and the cache are.
_START = """
import sys
sys.path.append(sys.argv[1])
from ocifw import boot, selection
boot.cache_folder = lambda: sys.argv[3]
selection.choose(folders=(sys.argv[2],))
from ocifw.cli import main
boot.leave(main(sys.argv[4:]))
"""
PATIENCE_S = 60


class Done(Record):
    """A command that ended."""

    status: int
    out: str
    err: str


def missing() -> str:
    """Why there can be no real containers here, or ""."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists(f"{library()}/ocifw/bin/ocifw-init"):
        return "needs an installed ocifw-core, with ocifw-init"
    return ""


class RealContainers:
    """Runs containers with a plugin set that a test writes. folder: for bundles, state and sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sets = folder / "sets.d"
        self.sets.mkdir()
        self.name = f"ocifw-test-{uuid4().hex[:12]}"
        self.ids: list[str] = []

    def set(self, name: str, plugins: dict[str, Any], **others: Any) -> str:
        """Write a set file, JSON being YAML. Returns its name, for `--set`."""
        (self.sets / f"{name}.yaml").write_text(json.dumps({"plugins": plugins, **others}))
        return name

    def command(self, *words: object) -> list[str]:
        """The command line of an ocifw that looks for sets in this test's folder only."""
        start = [sys.executable, "-I", "-S", "-B", "-c", _START, library(), str(self.sets)]
        start.append(str(self.folder / "cache"))
        return [*start, "--root", str(self.folder / "state"), *map(str, words)]

    def ocifw(self, *words: object, **options: Any) -> Done:
        """Run ocifw. Other options are subprocess.run's."""
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def bundle(
        self, script: str, config: dict[str, Any] | None = None, source: str = "host"
    ) -> Path:
        """A bundle that runs a shell script, with a root filesystem of the host's /usr or of busybox."""
        config = config or config_of("plain")
        config["process"]["args"] = ["/bin/sh", "-c", script]
        config.setdefault("linux", {})["cgroupsPath"] = f"/{self.name}"
        return write_bundle(
            self.folder / f"bundle-{len(self.ids)}-{uuid4().hex[:6]}", config, source
        )

    def run(self, script: str, config: dict[str, Any] | None = None, *words: object) -> Done:
        """Run a shell script in a container to its end. words: global options, as "--set", NAME."""
        bundle = self.bundle(script, config)
        return self.ocifw(*words, "run", "--bundle", bundle, self.id())

    def id(self) -> str:
        """An id for a container that is deleted after the test."""
        self.ids.append(f"{self.name}-{len(self.ids)}")
        return self.ids[-1]

    def clean(self) -> None:
        """Delete what is left."""
        for container_id in self.ids:
            self.ocifw("--set", "default", "delete", "--force", container_id)
