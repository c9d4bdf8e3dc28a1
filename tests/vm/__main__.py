"""Run a command in the test machine; its output and exit status become this command's.

    ./dev vm [OPTION...] -- COMMAND [ARGUMENT...]

The machine sees the checkout, read-only, at the same path, and has ocifw and what tests need in /opt/venv, which is in
PATH. The command starts in the checkout. What it writes is lost, except below a --share. The first run builds the machine
from Debian packages, and boots each variant of it once; later ones resume that. Only one machine runs at a time. Exit
status 124: the time is over; 125: the machine failed.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import image
import stage
from machine import BOOT_PATIENCE_S, Machine, MachineError, Share, Variant, saved

TIMEOUT_STATUS, MACHINE_STATUS = 124, 125
FOREVER_S = 1e9

AS_USER = """\
exec runuser -u user -- env HOME=/home/user XDG_RUNTIME_DIR=/run/user/1000 systemd-run --user --quiet --pipe --wait \
--collect --same-dir --property=Delegate=yes --property=OOMPolicy=continue --setenv=PATH="$PATH" \
--setenv=PYTHONPYCACHEPREFIX=/tmp/pycache-user -- """


def arguments() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="./dev vm",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--cgroup", choices=("v2", "v1", "hybrid"), default="v2", help="what systemd mounts"
    )
    parser.add_argument(
        "--user", action="store_true", help="run as uid 1000, in its systemd user instance"
    )
    parser.add_argument(
        "--selinux", action="store_true", help="SELinux (permissive) instead of AppArmor"
    )
    parser.add_argument(
        "--share",
        metavar="DIR[:ro]",
        action="append",
        default=[],
        help="a folder that the machine sees at the same path (repeatable)",
    )
    parser.add_argument(
        "--timeout", type=float, metavar="S", default=FOREVER_S, help="give up after S seconds"
    )
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument(
        "--boot", action="store_true", help="boot; neither use nor make a saved machine"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.command[:1] == ["--"]:
        del options.command[0]
    if not options.command:
        parser.error("no command")
    return options


def main() -> int:
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    variant = Variant(options.cgroup, options.selinux, options.memory, options.cpus)
    try:
        built = image.folder()
        with (
            open(image.cache() / "machine.lock", "w") as lock,
            tempfile.TemporaryDirectory() as folder,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.chmod(folder, 0o755)
            stage.fill(Path(folder), built)
            return run(options, variant, built, folder)
    except (MachineError, image.ImageError, subprocess.CalledProcessError, OSError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return MACHINE_STATUS


def run(options: argparse.Namespace, variant: Variant, built: Path, staged: str) -> int:
    """Run the command in a machine of this variant. Raises MachineError."""
    shares = [Share(staged, read_only=True), Share(str(stage.ROOT), read_only=True)]
    for text in options.share:
        path, _, flag = text.partition(":")
        shares.append(Share(os.path.realpath(path), flag == "ro"))
    disk, state = (built / "root.img", None) if options.boot else saved(built, variant)
    deadline = time.monotonic() + options.timeout
    with Machine(built, variant, disk, state=state, shares=shares) as machine:
        if state is None:
            machine.wait_ready(time.monotonic() + BOOT_PATIENCE_S)
        status = machine.run(script(options, staged), deadline)
        if status and machine.console():
            print(f"vm: the console said:\n{machine.console()}", file=sys.stderr)
    if status is None:
        print(f"vm: not done after {options.timeout:g} s", file=sys.stderr)
    return TIMEOUT_STATUS if status is None else status


def script(options: argparse.Namespace, staged: str) -> str:
    """What the machine's shell does: install ocifw, and execute the command in the checkout."""
    prefix = AS_USER if options.user else "exec "
    lines = [
        stage.INSTALL.format(stage=shlex.quote(staged)),
        f"cd {shlex.quote(str(stage.ROOT))}",
        prefix + shlex.join(options.command),
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
