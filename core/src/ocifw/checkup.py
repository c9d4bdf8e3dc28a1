"""Everything that can be told about a bundle before a container is made of it: what is wrong, where, and how bad.

What is wrong at one stage does not keep the others from being looked at: what is broken in config.json is left out for
them, wrong profiles are, and each plugin is asked by itself when one refuses.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import feasibility
from .creation import Creation
from .document import dump
from .errors import ConfigError, OcifwError, Problem
from .json_places import original, places_of_file
from .layers import path_text
from .linux.memfd import sealed
from .policy import PolicyError
from .pruned import overlaps, pruned
from .record import Record
from .refusals import config_violations, refusals

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from typing import Any

    from .context import Globals
    from .display import Paint
    from .layers import Path, Place
    from .policy import Violation

ERROR, WARNING = feasibility.ERROR, feasibility.WARNING


class Finding(Record):
    """One thing that is wrong.

    severity: "error": no container can be made; "warning": one can, and something asked for is not so. kind: config, profile,
    unknown, plugin, policy or host. origin: FILE:LINE:COLUMN, where it is known.
    """

    severity: str
    kind: str
    path: str
    message: str
    origin: str


def check(globals_: Globals, bundle: str, config_file: str = "config.json") -> list[Finding]:
    """What is wrong with a bundle, errors first. Changes nothing."""
    found = list(_Checkup(globals_, bundle, config_file).findings())
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda one: one.severity != ERROR)


class _Checkup:
    def __init__(self, globals_: Globals, bundle: str, config_file: str) -> None:
        self.globals = globals_
        self.bundle = bundle
        self.config_file = config_file
        self.file = f"{bundle}/{config_file}"
        self.places: dict[Path, Place] | None = None
        self.gone: list[str] = []

    def findings(self) -> Iterator[Finding]:
        from .document import read
        from .validate import check as check_document
        from .validate import warnings

        try:
            before = read(self.file, "config.json")
        except ConfigError as error:
            yield from self._problems("config", error.problems)
            return
        config: dict[str, Any] | None = before
        try:
            check_document(before, "config", self.file)
        except ConfigError as error:
            yield from self._problems("config", error.problems)
            # What else is wrong is told as well, of what is right so far.
            config, self.gone = pruned(before)
        if config is None:
            return
        for path, message in warnings(config, "config"):
            yield self._finding(WARNING, "unknown", Problem(path, message), before)
        creation = yield from self._creation(config)
        if creation is not None:
            yield from self._plan(creation, before)
            yield from self._host(creation, before)

    def _creation(self, config: dict[str, Any]) -> Generator[Finding, None, Creation | None]:
        """What `create` would begin with; without the profiles and --set when these are wrong."""
        bare = self.globals.changed(profiles=(), sets=(), program="", own_profile="")
        for globals_ in (self.globals, bare):
            try:
                return self._read(globals_, config)
            except ConfigError as error:
                yield from self._problems("profile", error.problems)
            except OcifwError as error:
                yield Finding(ERROR, "profile", "", str(error), "")
        return None

    def _read(self, globals_: Globals, config: dict[str, Any]) -> Creation:
        if not self.gone:
            return Creation(globals_, "validate", self.bundle, self.config_file)
        # It is read as any other: no way into `create` goes around the checks.
        fd = sealed("config.json", dump(config).encode())
        try:
            return Creation(globals_, "validate", self.bundle, f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

    def _plan(self, creation: Creation, before: dict[str, Any]) -> Iterator[Finding]:
        """What the plugins that own the fields say, and the policy."""
        try:
            creation.plan()
        except PolicyError as error:
            yield from self._policy(error.violations)
        except OcifwError as error:
            yield from self._refused(creation, error, before)
            for other in refusals(creation):
                yield from self._refused(creation, other, before)
            yield from self._policy(config_violations(creation))
        for text in creation.host.warnings:
            yield Finding(WARNING, "host", "", text, "")

    def _refused(
        self, creation: Creation, error: OcifwError, before: dict[str, Any]
    ) -> Iterator[Finding]:
        """What planning failed with, unless it is about what is gone."""
        whole = [Problem("", str(error))]
        for problem in error.problems if isinstance(error, ConfigError) else whole:
            if not overlaps(problem.path, self.gone):
                yield self._of(creation, ERROR, "plugin", problem, before)

    def _policy(self, violations: Iterable[Violation]) -> Iterator[Finding]:
        for one in violations:
            rule = one.rule
            if self.gone and (rule.root == "plan" or overlaps(rule.path, self.gone)):
                continue
            text = f"{rule.title}: {rule.reason} ({one.found})"
            yield Finding(ERROR, "policy", "", text, rule.origin)

    def _host(self, creation: Creation, before: dict[str, Any]) -> Iterator[Finding]:
        criu = creation.plugins.has("ocifw_checkpoint")
        for severity, problem in feasibility.check(
            creation.config, creation.request, creation.host, criu
        ):
            yield self._of(
                creation, severity, "host", Problem(problem.path, problem.message), before
            )

    def _of(
        self,
        creation: Creation,
        severity: str,
        kind: str,
        problem: Problem,
        before: dict[str, Any],
    ) -> Finding:
        """A finding about the effective config: its origin is a layer's, or config.json's."""
        if creation.effective is not None and problem.path:
            place = creation.effective.place_of(problem.path)
            if place:
                return Finding(severity, kind, problem.path, problem.message, place)
        return self._finding(severity, kind, problem, before, creation.config)

    def _problems(self, kind: str, problems: list[Problem]) -> Iterator[Finding]:
        for problem in problems:
            own = not problem.origin or problem.origin == self.file
            if own:
                yield self._finding(ERROR, kind, problem, None)
            else:
                yield Finding(ERROR, kind, problem.path, problem.message, problem.origin)

    def _finding(
        self,
        severity: str,
        kind: str,
        problem: Problem,
        before: dict[str, Any] | None,
        config: dict[str, Any] | None = None,
    ) -> Finding:
        """A finding about config.json, with the line."""
        if not problem.path:
            return Finding(severity, kind, "", problem.message, problem.origin)
        if self.places is None:
            self.places = places_of_file(self.file)
        place = self._place(problem.path, before, config)
        return Finding(severity, kind, problem.path, problem.message, place)

    def _place(
        self, text: str, before: dict[str, Any] | None, config: dict[str, Any] | None
    ) -> str:
        places = self.places or {}
        found: Path = ()
        for path in places:
            own = path_text(path)
            if path and (own == text or text.startswith((f"{own}.", f"{own}["))):
                found = max(found, path, key=len)
        if config is not None and before is not None and found:
            try:
                found = original(found, config, before)
            except (LookupError, TypeError):
                # What is not there yet, as a field that lacks, stands where it does.
                pass
        line, column = places.get(found, (0, 0)) if found else (0, 0)
        return f"{self.file}:{line}:{column}" if line else self.file


# ---- as text, as data --------------------------------------------------------------------------------------------


def as_document(bundle: str, findings: list[Finding], failed: bool) -> dict[str, Any]:
    """For programs: whether a container can be made, and the findings."""
    return {
        "bundle": bundle,
        "ok": not failed,
        "errors": sum(one.severity == ERROR for one in findings),
        "warnings": sum(one.severity == WARNING for one in findings),
        "findings": [dict(one.items()) for one in findings],
    }


def as_lines(bundle: str, findings: list[Finding], paint: Paint) -> Iterator[str]:
    """For people, and for editors that know `FILE:LINE:COLUMN:`."""
    for one in findings:
        colour = "red" if one.severity == ERROR else "yellow"
        place = f"{one.origin}: " if one.origin else ""
        path = f"{one.path}: " if one.path else ""
        yield f"{place}{paint(one.severity, 'bold', colour)}: {path}{one.message}"
    errors = sum(one.severity == ERROR for one in findings)
    warnings = len(findings) - errors
    parts = [_count(errors, "error")] * bool(errors) + [_count(warnings, "warning")] * bool(
        warnings
    )
    yield f"{bundle}: {', '.join(parts) or 'can be run'}"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"
