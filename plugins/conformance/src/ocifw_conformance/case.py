"""What a case is: one demand of the specification, and a function that tries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .trial import Trial

    Attempt = Callable[[Trial], None]


class Wrong(Exception):
    """The runtime did something else than the specification demands; the message says what, in a few words."""


class Lacks(Exception):
    """The machine lacks what the message names, without which the case says nothing."""


@dataclass(frozen=True)
class Case:
    """One row of the matrix.

    section: file and section of the specification. demand: what a runtime must do, one sentence. attempt: returns when
    the runtime does it; raises Wrong or Lacks. runc: what runc is known to do instead, "" when it must pass.
    """

    name: str
    section: str
    demand: str
    attempt: Attempt
    runc: str = ""


OLD = "runc 1.1 does not know it"
"""Of a case: the specification has it since a version after 1.0.2, which is that of runc 1.1."""

CASES: list[Case] = []
"""All cases, in the order of the specification: filled as the modules of `cases` are imported."""


def must(section: str, runc: str = "") -> Callable[[Attempt], Attempt]:
    """Add the decorated function as a case; its docstring is the demand."""

    def add(attempt: Attempt) -> Attempt:
        demand = " ".join((attempt.__doc__ or "").split())
        add_case(attempt.__name__, section, demand, attempt, runc)
        return attempt

    return add


def add_case(name: str, section: str, demand: str, attempt: Attempt, runc: str = "") -> None:
    """Add a case. Raises ValueError when there is one of this name."""
    if any(case.name == name for case in CASES):
        raise ValueError(f"two cases are called {name}")
    CASES.append(Case(name, section, demand, attempt, runc))


def shows(
    name: str,
    section: str,
    demand: str,
    change: Attempt,
    script: str,
    wanted: str,
    runc: str = "",
) -> None:
    """Add a case: with `change` made to the config, a shell script in the container writes these words."""

    def attempt(trial: Trial) -> None:
        change(trial)
        trial.same(trial.output(script), wanted.split())

    add_case(name, section, demand, attempt, runc)


def refuses(name: str, section: str, demand: str, change: Attempt, runc: str = "") -> None:
    """Add a case: with `change` made to the config, `create` is an error and there is no container."""

    def attempt(trial: Trial) -> None:
        change(trial)
        trial.refused()

    add_case(name, section, demand, attempt, runc)
