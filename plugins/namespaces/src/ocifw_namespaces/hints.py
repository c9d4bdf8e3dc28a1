"""What mends the classic failures of users without privileges, as commands: why this machine denies a user namespace."""

from __future__ import annotations

import os
from errno import EACCES, ENOSPC, EPERM
from typing import TYPE_CHECKING

from ocifw.errors import StepFailed
from ocifw.steps import Clone, Unshare

from . import idmap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ocifw.context import Host

_KINDS = ("user", "pid", "net", "ipc", "uts", "mnt", "cgroup", "time")


def hints(error: BaseException, host: Host) -> Iterator[str]:
    """The hints for an error of any plugin."""
    text = str(error)
    if idmap.NOT_FOUND in text:
        yield (
            "newuidmap and newgidmap come with the package uidmap (Debian: apt-get install uidmap) or"
            " shadow-utils (Fedora: dnf install shadow-utils)"
        )
    elif "not allowed" in text and ("newuidmap" in text or "newgidmap" in text):
        yield _ranges()
    elif "newuidmap ended" in text or "newgidmap ended" in text:
        yield (
            "newuidmap and newgidmap need their privileges: chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap;"
            " they have none where the filesystem is mounted nosuid, or the caller has no_new_privs"
        )
    elif isinstance(error, StepFailed):
        yield from _denied(error, host)


def _ranges() -> str:
    return (
        "only the ids in /etc/subuid and /etc/subgid can be mapped; to give the user some:"
        f" usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {_user()}"
    )


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _denied(error: StepFailed, host: Host) -> Iterator[str]:
    """Why the kernel or its security modules refuse a step to who has no privileges, or to anybody here."""
    makes = isinstance(error.step, (Clone, Unshare))
    if makes and error.errno == ENOSPC:
        names = [name for name in _KINDS if _value(host, f"user/max_{name}_namespaces") == 0]
        for name in names:
            yield (
                f"{name} namespaces are disabled: sysctl -w user.max_{name}_namespaces=15000"
                " (in /etc/sysctl.d it lasts)"
            )
        if not names:
            yield (
                "there are as many namespaces as /proc/sys/user/max_*_namespaces allow, or 32 inside one another"
            )
    if host.euid == 0 or error.errno not in (EPERM, EACCES):
        return
    if makes and _value(host, "kernel/unprivileged_userns_clone") == 0:
        yield "users may not make namespaces: sysctl -w kernel.unprivileged_userns_clone=1"
    if _value(host, "kernel/apparmor_restrict_unprivileged_userns") == 1:
        yield (
            "AppArmor denies privileges in user namespaces to programs without a profile:"
            " sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or a profile for ocifw with the rule userns,"
        )


def _value(host: Host, name: str) -> int | None:
    """A number below /proc/sys; None where this kernel does not have it."""
    try:
        return int(host.read(f"/proc/sys/{name}"))
    except (OSError, ValueError):
        return None
