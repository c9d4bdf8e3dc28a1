"""linux.seccomp compiled to the program that seccomp(2) loads.

The program looks at the architecture, then searches the number of the system call in ranges of numbers that are
decided alike. Where a decision depends on arguments, their tests follow. For Docker's profile and three architectures
that makes 273 instructions, of which an ordinary call executes 11 (libseccomp: 1200 and 15).
"""

from __future__ import annotations

from errno import ENOSYS

from ocifw.errors import PlanError

from . import PATH
from .architectures import NATIVE, X32_BIT, filtered
from .bpf import ARCHITECTURE, EQUAL, GREATER_EQUAL, NUMBER, Assembler
from .profile import ACTIONS, ERRNO, read_profile
from .rules import decisions, newest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .architectures import Architecture
    from .profile import Condition, Profile
    from .rules import Alternative, Decision

    Range = tuple[int, Decision, bool]
    """The first number, what is decided up to the next range, and whether arguments have 64 bits."""

BAD_ARCHITECTURE = ACTIONS["SCMP_ACT_KILL"]
NO_SUCH_CALL = ERRNO | ENOSYS

_NUMBERS = 1 << 32
# A tracer skips a system call by setting its number to -1; see seccomp(2).
_SKIPPED = _NUMBERS - 1
_PERMISSIVE = (ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_LOG"], ACTIONS["SCMP_ACT_TRACE"])
_ACTION_BITS = 0xFFFF0000


def compile_filter(
    seccomp: dict[str, Any], machine: str, *, enosys: bool = True
) -> tuple[bytes, int]:
    """The program (struct sock_filter, 8 bytes an instruction) and flags of seccomp(2) for linux.seccomp.

    machine: the kernel's name, as `x86_64`. An empty program means that no filter is asked for. With `enosys`, calls
    that are newer than every call that the profile names give ENOSYS instead of a default action that is no
    permission, so that programs fall back to older ones; as in runc, on the architectures that the profile lists.
    Raises ConfigError when linux.seccomp is wrong, PlanError when the machine is not known or the program gets too
    long for the kernel.
    """
    profile = read_profile(seccomp)
    if profile is None:
        return b"", 0
    native = NATIVE.get(machine)
    if native is None:
        raise PlanError(f"{PATH}: ocifw-seccomp does not know the system calls of {machine}")
    if profile.default_action & _ACTION_BITS in _PERMISSIVE:
        enosys = False
    groups: dict[int, list[Range]] = {}
    architectures = filtered(native, profile.architectures)
    for architecture in architectures:
        if architecture.token not in groups:
            groups[architecture.token] = _ranges(profile, architecture, architectures, enosys)
    assembler = Assembler()
    otherwise = assembler.returns(BAD_ARCHITECTURE)
    # The native architecture is first in the list, hence last to be written and first to be compared.
    for token, ranges in reversed(groups.items()):
        assembler.near(_search(assembler, profile.default_action, ranges, 0, len(ranges)))
        search = assembler.load(NUMBER)
        otherwise = assembler.branch(EQUAL, token, search, otherwise)
    assembler.load(ARCHITECTURE)
    return assembler.program(), profile.flags


def _ranges(
    profile: Profile, architecture: Architecture, filtered_too: list[Architecture], enosys: bool
) -> list[Range]:
    """What is decided on all numbers of one audit token, in order, neighbours decided differently."""
    ranges: list[Range] = []
    default = profile.default_action
    if architecture.name != "SCMP_ARCH_X86_64":
        _extend(ranges, profile, architecture, 0, enosys)
        return ranges
    x32 = [other for other in filtered_too if other.name == "SCMP_ARCH_X32"]
    # Numbers with X32_BIT are x32's, without it x86_64's; from 2**31 on there are none, but the same holds.
    stubbed = _extend(ranges, profile, architecture, 0, enosys)
    if x32:
        with_bit = skipped = default
        if _extend(ranges, profile, x32[0], X32_BIT, enosys):
            with_bit = skipped = NO_SUCH_CALL
    else:
        with_bit, skipped = BAD_ARCHITECTURE, default
        _append(ranges, X32_BIT, BAD_ARCHITECTURE)
    without_bit = NO_SUCH_CALL if stubbed else default if x32 else BAD_ARCHITECTURE
    _append(ranges, 2 * X32_BIT, without_bit)
    _append(ranges, 3 * X32_BIT, with_bit)
    _append(ranges, _SKIPPED, skipped)
    return ranges


def _extend(
    ranges: list[Range], profile: Profile, architecture: Architecture, first: int, enosys: bool
) -> bool:
    """Append the architecture's ranges, which begin at number `first`.

    True when newer calls than those that the profile names give ENOSYS, False when they get the default action.
    """
    default = profile.default_action
    last = (
        newest(profile, architecture)
        if enosys and architecture.name in profile.architectures
        else 0
    )
    position = first
    for number, decision in sorted(decisions(profile, architecture).items()):
        if last and number > last:
            break
        if number > position:
            _append(ranges, position, default)
        _append(ranges, number, decision, architecture.wide)
        position = number + 1
    if not last:
        _append(ranges, position, default)
        return False
    if last >= position:
        _append(ranges, position, default)
    _append(ranges, last + 1, NO_SUCH_CALL)
    return True


def _append(ranges: list[Range], first: int, decision: Decision, wide: bool = False) -> None:
    if not ranges or ranges[-1][1] != decision or not isinstance(decision, int):
        ranges.append((first, decision, wide))


def _search(assembler: Assembler, default: int, ranges: list[Range], first: int, end: int) -> int:
    """Write the search for the number, which is loaded, among ranges[first:end], and what is decided on it."""
    count = end - first
    _, decision, wide = ranges[first]
    if count == 1:
        if isinstance(decision, int):
            return assembler.returns(decision)
        return _alternatives(assembler, default, decision, wide)
    if count == 3 and ranges[first + 2][1] == decision and isinstance(decision, int):
        alone = ranges[first + 1][0]
        if ranges[first + 2][0] == alone + 1:
            exception = _search(assembler, default, ranges, first + 1, first + 2)
            return assembler.branch(EQUAL, alone, exception, assembler.returns(decision))
    # Threes are often one number among others that are decided alike: one comparison where two parts take two.
    middle = first + (max(count // 2 // 3, 1) * 3 if count > 3 else 1)
    above = _search(assembler, default, ranges, middle, end)
    below = _search(assembler, default, ranges, first, middle)
    return assembler.branch(GREATER_EQUAL, ranges[middle][0], above, below)


def _alternatives(
    assembler: Assembler, default: int, alternatives: tuple[Alternative, ...], wide: bool
) -> int:
    """Write the tests of arguments: the first alternative whose conditions hold decides."""
    place = assembler.returns(default)
    end = len(alternatives)
    while end:
        end -= 1
        conditions, action = alternatives[end]
        last = end
        group = _equality(conditions)
        while group is not None and end and _equality(alternatives[end - 1][0]) == group:
            end -= 1
        if group is not None and end < last:
            cases = [
                (a[0][2] & 0xFFFFFFFF, assembler.returns(b))
                for a, b in alternatives[end : last + 1]
            ]
            place = assembler.equal(group[0], group[1], wide, cases, place)
            continue
        otherwise, place = place, assembler.returns(action)
        for condition in reversed(conditions):
            place = assembler.condition(condition, wide, place, otherwise)
    return place


def _equality(conditions: tuple[Condition, ...]) -> tuple[int, int] | None:
    """The argument and the high half of the number that it must equal, when that is all that is asked."""
    if len(conditions) == 1 and conditions[0][1] == "SCMP_CMP_EQ":
        return conditions[0][0], conditions[0][2] >> 32
    return None
