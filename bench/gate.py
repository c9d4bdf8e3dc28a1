"""The gate against a slower start: the instructions that each verb executes, compared with the recorded ones.

    python3 bench/gate.py [--record]

Seconds differ from run to run by more than what a careless import costs; instructions, counted by valgrind's callgrind,
repeat to a per cent. Counted is the runtime's own process, without the kernel and without ocifw-init. The counts of an
interpreter can only be compared with those of the same: instructions.json has one record for each, and for another the gate
only shows what it counted. Ends with 1 when a verb takes over 5 per cent more. Needs root, valgrind, busybox-static, runc.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from verbs import PR_SET_CHILD_SUBREAPER, Life, make_bundle

RECORDS = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.05
ROUNDS = 3
VERBS = ("create", "start", "state", "delete", "run")


class Counted(Life):
    """One container's life, in which each command is counted."""

    def __init__(self, path: str, root: Path, bundle: Path, container_id: str, cgroup: str) -> None:
        super().__init__(path, root, bundle, container_id, cgroup)
        boot = subprocess.check_output(
            [Path(path).with_name("python3"), "-c", "import ocifw.boot as b; print(b.__cached__)"]
        )
        interpreter = os.path.realpath(Path(path).with_name("python3"))
        # What native/entry.c starts.
        self.started = [interpreter, "-I", "-S", "-B", boot.decode().strip(), path]

    def measure(self) -> dict[str, float]:
        """Instructions by verb. `run` is detached, and exec and kill are left out: valgrind 3.19 knows no pidfd_open(2)."""
        counts = {}
        self.program("/bin/sleep", "1000")
        for first in ("create", "run"):
            options = ["--detach"] * (first == "run")
            counts[first] = self.time(first, *options, "--bundle", self.bundle, self.id)
            state = json.loads(subprocess.check_output([*self.command, "state", self.id]))
            if first == "create":
                counts["start"] = self.time("start", self.id)
                counts["state"] = self.time("state", self.id)
            subprocess.check_call([*self.command, "kill", self.id, "KILL"])
            os.waitpid(state["pid"], 0)
            counts["delete"] = self.time("delete", self.id)
        return counts

    def time(self, *arguments: object) -> float:
        """Instructions instead of seconds."""
        with tempfile.NamedTemporaryFile(prefix="ocifw-gate-") as log:
            command = [
                "valgrind",
                "--tool=callgrind",
                "--callgrind-out-file=/dev/null",
                f"--log-file={log.name}",
            ]
            command += [*self.started, *self.command[1:], *map(str, arguments)]
            environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}
            with tempfile.TemporaryFile() as output:
                # Not a pipe: the container would hold it open.
                null = subprocess.DEVNULL
                status = subprocess.call(
                    command, env=environment, stdin=null, stdout=output, stderr=output
                )
                if status:
                    output.seek(0)
                    raise SystemExit(f"{command} failed with {status}: {output.read().decode()}")
            # A forked child that ends without executing anything counts on; the process itself has the last word.
            return float(re.findall(r"Collected : (\d+)", Path(log.name).read_text())[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write the counts down")
    options = parser.parse_args()
    for needed in ("valgrind", "runc", "busybox"):
        if shutil.which(needed) is None:
            raise SystemExit(f"needs {needed}")
    key = f"{sys.version.split()[0]} {platform.machine()} {platform.libc_ver()[1]}"
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {}
    counts = count(str(Path(sys.executable).with_name("ocifw")))
    recorded = records.get(key)
    status = 0
    for verb, number in counts.items():
        line = f"{verb:8} {number / 1e6:8.2f} million instructions"
        if recorded:
            change = number / recorded[verb] - 1
            line += f", {change:+.1%} of the recorded"
            if change > TOLERANCE:
                status = 1
                line += ": SLOWER"
            elif change < -TOLERANCE:
                line += ": faster, record it"
        print(line)
    if options.record:
        RECORDS.write_text(json.dumps({**records, key: counts}, indent=1) + "\n")
        return 0
    if not recorded:
        print(f"nothing is recorded for {key}: ./dev gate --record")
    return status


def count(path: str) -> dict[str, int]:
    """The medians of the instructions of each verb."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    cgroup = f"/ocifw-gate-{os.getpid()}"
    lives = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = make_bundle(folder)
        try:
            # What the caches lack is written before.
            life = Life(path, folder / "root", bundle, "first", cgroup)
            life.measure()
            for number in range(ROUNDS):
                life = Counted(path, folder / "root", bundle, f"c{number}", cgroup)
                lives.append(life.measure())
        except BaseException:
            life.clean()
            raise
        finally:
            for parent in Path("/sys/fs/cgroup").glob(f"*{cgroup}"):
                for inside, _, _ in os.walk(parent, topdown=False):
                    os.rmdir(inside)
    return {verb: round(statistics.median([life[verb] for life in lives])) for verb in VERBS}


if __name__ == "__main__":
    sys.exit(main())
