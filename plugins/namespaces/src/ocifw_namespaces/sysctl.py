"""Names of sysctls: sysctl.d(5)'s two spellings of one path below /proc/sys."""

from __future__ import annotations


def path(key: str) -> str:
    """The path below /proc/sys of a sysctl.

    The separator is whichever of `.` and `/` comes first; the other one is then part of a name, where a `/` stands for
    a dot: both `net.ipv4.conf.eno2/100.forwarding` and `net/ipv4/conf/eno2.100/forwarding` mean interface `eno2.100`.
    """
    separator = next((character for character in key if character in "./"), "/")
    if separator == "/":
        return key
    return key.translate({ord("."): "/", ord("/"): "."})
