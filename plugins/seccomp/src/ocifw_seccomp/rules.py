"""From a profile to what a filter decides: for each number of a system call, an action or a list of conditional ones.

The meaning is that of libseccomp, which runc and crun use:

* A rule whose action is the default action says nothing.
* The first unconditional rule of a system call replaces all its conditional ones.
* Names that an architecture does not have are ignored there.
* On x86, rules for socket and System V IPC calls also hold when the call comes through socketcall(2) or ipc(2). The
  number of the subcall then takes the place of the rule's condition on argument 0.
* Conditions compare 64 bits, or the low 32 where arguments have no more.
* Where conditional rules of one system call overlap and have different actions, the order is libseccomp's: see
  `_order`.
"""

from __future__ import annotations

from ocifw.errors import ConfigError, Problem

from . import PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .architectures import Architecture
    from .profile import Condition, Profile

    Alternative = tuple[tuple[Condition, ...], int]
    Decision = int | tuple[Alternative, ...]
    """An action; or alternatives, the first of which that holds gives the action, else the default action."""

LOW = 0xFFFFFFFF
FULL = 0xFFFFFFFFFFFFFFFF

_MASKED = "SCMP_CMP_MASKED_EQ"


def decisions(profile: Profile, architecture: Architecture) -> dict[int, Decision]:
    """What the profile decides on each number of a system call; numbers that are not in it get the default action.

    Raises ConfigError when two rules with equal conditions have different actions.
    """
    numbers = architecture.numbers()
    multiplexed = architecture.multiplexed
    default = profile.default_action
    certain: dict[int, int] = {}
    conditional: dict[int, dict[tuple[Condition, ...], int]] = {}
    for position, rule in enumerate(profile.rules):
        action = rule.action
        if action == default:
            continue
        if rule.alternatives == ((),) and not multiplexed:
            for name in rule.names:
                if name in numbers:
                    certain.setdefault(numbers[name], action)
            continue
        alternatives = [_normal(conditions, architecture.wide) for conditions in rule.alternatives]
        for name in rule.names:
            targets = [(numbers[name], alternatives)] if name in numbers else []
            if name in multiplexed:
                number, subcall = multiplexed[name]
                targets.append((number, [_through(subcall, c) for c in alternatives]))
            for number, ways in targets:
                for conditions in ways:
                    if not conditions:
                        certain.setdefault(number, action)
                        continue
                    other = conditional.setdefault(number, {}).setdefault(conditions, action)
                    if other != action and number not in certain:
                        raise _contradiction(position, name, architecture)
    result: dict[int, Decision] = dict(certain)
    for number, by_conditions in conditional.items():
        if number not in certain:
            result[number] = tuple(sorted(by_conditions.items(), key=_order))
    return result


def newest(profile: Profile, architecture: Architecture) -> int:
    """The highest number among the system calls that the profile names at all; 0 when there is none.

    As in runc, calls that are multiplexed do not count.
    """
    numbers = architecture.numbers()
    multiplexed = architecture.multiplexed
    return max(
        [
            numbers[name]
            for rule in profile.rules
            for name in rule.names
            if name in numbers and name not in multiplexed
        ],
        default=0,
    )


def _contradiction(position: int, name: str, architecture: Architecture) -> ConfigError:
    message = (
        f"{name}: another rule with the same conditions on {architecture.name} has another action"
    )
    return ConfigError([Problem(f"{PATH}.syscalls[{position}]", message)])


def _normal(conditions: tuple[Condition, ...], wide: bool) -> tuple[Condition, ...]:
    """Sorted by argument, cut to the width of arguments, without conditions that always hold.

    Masked comparisons then have the mask as value and the masked number as second value, others no second value.
    """
    width = FULL if wide else LOW
    normal = []
    for index, operator, value, value_two in sorted(conditions):
        if operator != _MASKED:
            normal.append((index, operator, value & width, 0))
        elif value & width:
            normal.append((index, operator, value & width, value & value_two & width))
    return tuple(normal)


def _through(subcall: int, conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return (
        (0, "SCMP_CMP_EQ", subcall, 0),
        *[condition for condition in conditions if condition[0]],
    )


_PRIORITY = {"SCMP_CMP_LE": 1, "SCMP_CMP_LT": 1, "SCMP_CMP_GE": 2, "SCMP_CMP_GT": 2}


def _order(alternative: Alternative) -> list[tuple[int, int, int]]:
    """Sort key: conditions on later arguments first, then equality, less, greater, then the tighter value.

    This is the order in which libseccomp's tree of conditions is walked. It matters only where rules overlap and
    differ in action.
    """
    key = []
    for index, operator, value, value_two in alternative[0]:
        priority = _PRIORITY.get(operator, 0)
        tightness = value if priority == 1 else -(value_two if operator == _MASKED else value)
        key.append((-index, priority, tightness))
    return key
