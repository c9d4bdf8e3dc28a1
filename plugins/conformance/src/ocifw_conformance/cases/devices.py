"""config-linux.md: Devices, Default devices; runtime-linux.md: file descriptors, dev symbolic links."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocifw_conformance.case import must, refuses, shows

if TYPE_CHECKING:
    from ocifw_conformance.case import Attempt
    from ocifw_conformance.trial import Trial

DEVICES = "config-linux.md, Devices"
DEFAULT = "config-linux.md, Default devices"
LINKS = "runtime-linux.md, Dev symbolic links"
NULL = {"type": "c", "major": 1, "minor": 3}


def device(path: str, **fields: Any) -> Attempt:
    """The change that adds a device."""

    def change(trial: Trial) -> None:
        trial.linux.setdefault("devices", []).append({"path": path, **fields})

    return change


shows(
    "device_character", DEVICES, "A device of type c has its number, mode and owner.",
    device("/dev/x", type="c", major=10, minor=229, fileMode=0o646, uid=3, gid=4),
    "stat -c '%F %t:%T %a %u:%g' /dev/x", "character special file a:e5 646 3:4",
)  # fmt: skip
shows(
    "device_block", DEVICES, "A device of type b has its number.",
    device("/dev/x", type="b", major=7, minor=0, fileMode=0o600),
    "stat -c '%F %t:%T %a' /dev/x", "block special file 7:0 600",
)  # fmt: skip
shows(
    "device_fifo", DEVICES, "A device of type p is a FIFO.",
    device("/dev/sub/x", type="p", fileMode=0o622), "stat -c '%F %a' /dev/sub/x", "fifo 622",
)  # fmt: skip
shows(
    "device_unbuffered", DEVICES, "A device of type u is a character device.",
    device("/dev/x", type="u", major=1, minor=3),
    "stat -c '%F %t:%T' /dev/x", "character special file 1:3",
)  # fmt: skip
refuses(
    "device_of_unknown_type", DEVICES, "A device of a type that is not known is an error.",
    device("/dev/x", type="x", major=1, minor=3),
)  # fmt: skip


@must(DEVICES, runc="takes whatever file is there")
def device_that_is_something_else(trial: Trial) -> None:
    """A file at the path that does not match the device is an error."""
    trial.own_rootfs()
    device("/etc/passwd", **NULL)(trial)
    trial.refused()


@must(DEVICES)
def device_that_is_there(trial: Trial) -> None:
    """A device at the path that matches is no error."""
    device("/dev/null", **NULL, fileMode=0o666)(trial)
    trial.resources["devices"].append({"allow": True, **NULL, "access": "rwm"})
    trial.same(trial.output("stat -c %t:%T /dev/null"), ["1:3"])


@must(DEVICES)
def device_in_user_namespace(trial: Trial) -> None:
    """Default devices are there in a user namespace, too, and work."""
    trial.user_namespace()
    trial.same(
        trial.output("stat -c %t:%T /dev/null /dev/zero; echo x >/dev/null && echo ok"),
        ["1:3", "1:5", "ok"],
    )


for _name, _number in {
    "null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0",
}.items():  # fmt: skip
    shows(
        f"device_default_{_name}", DEFAULT, f"/dev/{_name} is there without being asked for, for everybody.",
        lambda t: None, f"stat -c '%t:%T %a' /dev/{_name}", f"{_number} 666",
    )  # fmt: skip
shows(
    "device_default_ptmx", DEFAULT, "/dev/ptmx is that of the container's devpts.",
    lambda t: None, "readlink -f /dev/ptmx", "/dev/pts/ptmx",
)  # fmt: skip
for _name, _target in {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
}.items():  # fmt: skip
    shows(
        f"device_link_{_name}", LINKS, f"/dev/{_name} is a link to {_target}.",
        lambda t: None, f"readlink /dev/{_name}", _target,
    )  # fmt: skip


@must(DEFAULT, runc="allows tun and others to every container")
def device_defaults_only(trial: Trial) -> None:
    """Only default devices are allowed beside those that the rules allow: tun is none of them."""
    device("/dev/tun", type="c", major=10, minor=200)(trial)
    trial.needs(Path("/sys/fs/cgroup/devices/tasks").exists(), "cgroup v1 controller devices")
    done = trial.run("head -c 1 /dev/tun; true")
    trial.demand("Operation not permitted" in done.err, "it is allowed")
