"""config-linux.md: Rootfs mount propagation, Masked paths, Readonly paths, Mount label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw_conformance import machine
from ocifw_conformance.case import add_case, must, refuses, shows

if TYPE_CHECKING:
    from ocifw_conformance.trial import Trial

PROPAGATION = "config-linux.md, Rootfs mount propagation"
MASKED = "config-linux.md, Masked paths"
READONLY = "config-linux.md, Readonly paths"


def _propagation(value: str, wanted: str) -> None:
    def attempt(trial: Trial) -> None:
        trial.own_rootfs()
        trial.linux["rootfsPropagation"] = value
        out = trial.output("awk '$5 == \"/\"' /proc/self/mountinfo | tail -n1")
        found = [field.partition(":")[0] for field in out[6 : out.index("-")]]
        trial.demand(
            wanted in found if wanted else "shared" not in found, f"is {found or 'private'}"
        )

    runc = "runc 1.1 sets it before pivot_root" if value in ("shared", "unbindable") else ""
    add_case(
        f"propagation_{value}",
        PROPAGATION,
        f"rootfsPropagation {value} is that of the root.",
        attempt,
        runc,
    )


for _value, _wanted in (
    ("private", ""),
    ("slave", ""),
    ("shared", "shared"),
    ("unbindable", "unbindable"),
):
    _propagation(_value, _wanted)
refuses(
    "propagation_unknown", PROPAGATION, "A propagation that is not known is an error.",
    lambda t: t.linux.update(rootfsPropagation="x"),
)  # fmt: skip

shows(
    "masked_file", MASKED, "A masked file cannot be read.",
    lambda t: t.linux.update(maskedPaths=["/etc/passwd"]), "wc -c </etc/passwd", "0",
)  # fmt: skip
shows(
    "masked_folder", MASKED, "A masked folder is empty, and cannot be written to.",
    lambda t: t.linux.update(maskedPaths=["/etc"]), "ls -A /etc; mkdir /etc/x || echo refused", "refused",
)  # fmt: skip
shows(
    "masked_missing", MASKED, "A masked path that is not there is no error.",
    lambda t: t.linux.update(maskedPaths=["/nonexistent"]), "echo yes", "yes",
)  # fmt: skip
shows(
    "readonly_path", READONLY, "A read-only path can be read and not written.",
    lambda t: t.linux.update(readonlyPaths=["/proc/sys", "/dev/shm"]),
    "cat /proc/sys/kernel/ostype; echo x >/dev/shm/x || echo refused", "Linux refused",
)  # fmt: skip
shows(
    "readonly_missing", READONLY, "A read-only path that is not there is no error.",
    lambda t: t.linux.update(readonlyPaths=["/nonexistent"]), "echo yes", "yes",
)  # fmt: skip


@must(READONLY)
def readonly_keeps_flags(trial: Trial) -> None:
    """A read-only path keeps the other flags of its mount."""
    trial.linux["readonlyPaths"] = ["/dev/shm"]
    out = trial.output("grep ' /dev/shm ' /proc/self/mountinfo | tail -n1")
    trial.demand({"ro", "nosuid", "noexec", "nodev"} <= set(out[5].split(",")), out[5])


refuses(
    "masked_relative", MASKED, "maskedPaths are absolute.",
    lambda t: t.linux.update(maskedPaths=["etc"]), "takes it from the root",
)  # fmt: skip
refuses(
    "readonly_relative", READONLY, "readonlyPaths are absolute.",
    lambda t: t.linux.update(readonlyPaths=["etc"]), "takes it from the root",
)  # fmt: skip


@must("config-linux.md, Mount label")
def mount_label(trial: Trial) -> None:
    """mountLabel is the SELinux context of the mounts."""
    trial.needs("SELinux" in machine.security_modules(), "SELinux")
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    trial.linux["mountLabel"] = label
    trial.demand(
        label.partition(":s0")[0] in " ".join(trial.output("grep ' /dev ' /proc/mounts")),
        "it is not",
    )
