"""Names of signals, as `kill` and config.json's users write them. See signal(7)."""

from __future__ import annotations

from .errors import OcifwError

NUMBERS = {
    "HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8,
    "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
    "STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21,
    "TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28,
    "IO": 29, "POLL": 29, "PWR": 30, "SYS": 31, "UNUSED": 31,
}  # fmt: skip
"""By name without SIG; the same on x86_64 and aarch64."""

RTMIN = 34
RTMAX = 64
"""As the C library counts: it keeps 32 and 33 to itself."""


def parse(text: str) -> int:
    """The number of a signal: `15`, `TERM`, `SIGTERM`, `sigterm`, `RTMIN+3`, `SIGRTMAX-1`; 0 only asks.

    Raises OcifwError for what is no signal.
    """
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 4 else -1
    else:
        number = _named(text.upper().removeprefix("SIG"))
    if not 0 <= number <= RTMAX:
        raise OcifwError(f'unknown signal "{text}"')
    return number


def _named(name: str) -> int:
    """The number of a name in upper case and without SIG; -1 for none."""
    if name in NUMBERS:
        return NUMBERS[name]
    start = RTMIN if name[:5] == "RTMIN" else RTMAX if name[:5] == "RTMAX" else -1
    if start < 0 or len(name) == 5:
        return start
    sign, digits = name[5], name[6:]
    if sign != ("+" if start == RTMIN else "-") or not (digits.isascii() and digits.isdigit()):
        return -1
    offset = int(digits) if len(digits) < 4 else RTMAX
    number = start + offset if sign == "+" else start - offset
    return number if RTMIN <= number <= RTMAX else -1
