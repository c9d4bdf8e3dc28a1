"""Containers per second: `ocifw.Runtime.run` beside spawning `run` of each runtime, from one and several threads."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from verbs import cgroup_parent, make_bundle, shuffled, timed

import ocifw

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

NAME = "library"
Rates = dict[str, list[float]]


def rates(runtimes: dict[str, str], folder: Path, at_once: int, blocks: int, each: int) -> Rates:
    """Containers per second, by way; each block makes `each` containers in each thread in each way, in random order.

    A container is made, runs /bin/true, is waited for and deleted; one with another exit status is an error.
    """
    found: Rates = {name: [] for name in (NAME, *runtimes)}
    with (
        cgroup_parent() as cgroup,
        ocifw.Runtime(folder / f"library-{at_once}", delete_on_exit=True) as runtime,
        ThreadPoolExecutor(at_once) as pool,
    ):
        bundles = []
        for thread in range(at_once):

            def program(config: dict[str, Any], thread: int = thread) -> None:
                config["process"]["args"] = ["/bin/true"]
                config["linux"]["cgroupsPath"] = f"{cgroup}/{thread}"

            bundles.append(make_bundle(folder / f"rate-{at_once}-{thread}", [program]))
        null = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)

        def by_library(bundle: Path, container_id: str) -> None:
            status = runtime.run(bundle, container_id, **null)
            if status != 0:
                raise SystemExit(f"the library's container ended with {status}")

        def by_command(path: str, root: Path) -> Callable[[Path, str], None]:
            def run(bundle: Path, container_id: str) -> None:
                timed([path, "--root", str(root), "run", "--bundle", str(bundle), container_id])

            return run

        ways = {NAME: by_library}
        for name, path in runtimes.items():
            ways[name] = by_command(path, folder / f"rate-root-{name}")

        def work(name: str, thread: int, count: int) -> None:
            for number in range(count):
                ways[name](bundles[thread], f"r{thread}-{number}")

        for block in range(-1, blocks):
            for name in shuffled(ways):
                count = each if block >= 0 else 2
                began = time.perf_counter()
                list(pool.map(lambda t: work(name, t, count), range(at_once)))  # noqa: B023 -- used up at once
                if block >= 0:
                    found[name].append(count * at_once / (time.perf_counter() - began))
    return found
