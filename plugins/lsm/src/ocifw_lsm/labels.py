"""What the process and the mounts of a container are labelled with, and the steps that do it."""

from __future__ import annotations

from ocifw.errors import Problem
from ocifw.steps import JoinKeyring, MaskPath, Mount, SetExecLabel, SetXattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.steps import ContainerStep

    Config = dict[str, Any]

APPARMOR_ENABLED = "/sys/module/apparmor/parameters/enabled"
SELINUX_STATUS = "/sys/fs/selinux/status"
OWN_LABEL = "/proc/self/attr/current"
SELINUX_XATTR = "security.selinux"

# The kernel labels these itself, or binds what has its labels already.
_UNLABELLED = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "mqueue"})
_NOTHING = "\n"  # writing it to an attribute takes the label back


# ---- what applies ---------------------------------------------------------------------------------------------------


def selinux_label(config: Config, request: Request) -> str:
    """The SELinux label of the process, "" for none; of exec, else the container's own."""
    return _of_process(config, request, "selinuxLabel")


def mount_label(config: Config) -> str:
    """The SELinux label of the container's filesystems, "" for none."""
    return (config.get("linux") or {}).get("mountLabel") or ""


def _of_process(config: Config, request: Request, name: str) -> str:
    """A process that is added must not run without the confinement of the container that it joins."""
    value = (config.get("process") or {}).get(name)
    if not value and request.is_exec and request.container is not None:
        value = (request.container.config.get("process") or {}).get(name)
    return value or ""


# ---- problems -------------------------------------------------------------------------------------------------------


def problems(config: Config, request: Request, host: Host) -> Iterator[Problem]:
    """Labels for a module that is not active, and such as would be two; runc's texts."""
    profile = _of_process(config, request, "apparmorProfile")
    if profile:
        if not _has_apparmor(host) and profile != "unconfined":
            text = f"unable to apply apparmor profile {profile!r}: apparmor is not enabled on this host"
            yield Problem("process.apparmorProfile", text)
        elif "\n" in profile:
            yield Problem("process.apparmorProfile", f"{profile!r} is no name of a profile")
    for path, label in (
        ("process.selinuxLabel", selinux_label(config, request)),
        ("linux.mountLabel", "" if request.is_exec else mount_label(config)),
    ):
        if label and not has_selinux(host):
            text = "selinux label is specified in config, but selinux is disabled or not supported"
            yield Problem(path, text)
        elif any(character in label for character in '"\n'):
            # It stands in quotes among the mount options: what follows the second would be more of them.
            yield Problem(path, f"{label!r} is no SELinux label")


def _has_apparmor(host: Host) -> bool:
    try:
        return host.read(APPARMOR_ENABLED)[:1] == b"Y"
    except FileNotFoundError:
        return False


def has_selinux(host: Host) -> bool:
    """Whether SELinux is active: its filesystem is there, and a policy is loaded, since which nobody is `kernel`."""
    try:
        return host.exists(SELINUX_STATUS) and host.read(OWN_LABEL).rstrip(b"\0\n") != b"kernel"
    except OSError:
        return False


# ---- steps ----------------------------------------------------------------------------------------------------------


def exec_steps(config: Config, request: Request, host: Host) -> Iterator[ContainerStep]:
    """The labels that the process gets by executing its program.

    Where there is no AppArmor, a process is unconfined without a step; `problems` has refused every other profile.
    """
    profile = _of_process(config, request, "apparmorProfile")
    if profile and _has_apparmor(host):
        yield SetExecLabel("apparmor/exec", f"exec {profile}", at="process.apparmorProfile")
    label = selinux_label(config, request)
    if label:
        yield SetExecLabel("exec", label, at="process.selinuxLabel")


def label_keyring(steps: Iterable[ContainerStep], label: str) -> list[ContainerStep]:
    """The steps, with the label of new keyrings set while one is joined: else the program could not search its own."""
    found: list[ContainerStep] = []
    for step in steps:
        if isinstance(step, JoinKeyring):
            at = "process.selinuxLabel"
            found.append(SetExecLabel("keycreate", label, at=at))
            found.append(step)
            found.append(SetExecLabel("keycreate", _NOTHING, at=at))
        else:
            found.append(step)
    return found


def label_mounts(steps: Iterable[ContainerStep], label: str) -> list[ContainerStep]:
    """The steps, with the label as mount option where the filesystem takes one, as an attribute of mqueue's root."""
    found: list[ContainerStep] = []
    for step in steps:
        if isinstance(step, Mount) and step.fstype not in _UNLABELLED:
            step = _changed(step, options=_with_label(step.options, label))
        found.append(step)
        if isinstance(step, Mount) and step.fstype == "mqueue":
            value = label.encode()
            found.append(SetXattr(step.target, SELINUX_XATTR, value, at="linux.mountLabel"))
    return found


def label_masks(steps: Iterable[ContainerStep], label: str) -> list[ContainerStep]:
    """The steps, with the label on what covers masked directories."""
    return [
        _changed(step, options=_with_label(step.options, label))
        if isinstance(step, MaskPath)
        else step
        for step in steps
    ]


def _with_label(options: str, label: str) -> str:
    """The mount options with the label, in quotes because it may hold commas: `s0:c1,c2`."""
    own = f'context="{label}"'
    return f"{options},{own}" if options else own


def _changed(step: ContainerStep, **changes: object) -> ContainerStep:
    """A copy of a step that is still its plugin's, for the same part of config.json."""
    changed: ContainerStep = step.changed(**changes)
    object.__setattr__(changed, "at", step.at)
    changed.stamp(step.plugin, step.phase)
    return changed
