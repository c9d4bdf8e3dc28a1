"""A runtime that does nothing and writes down what a real one would do, in order, with failures where a test wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw import phases
from ocifw.record import Record
from ocifw.step import RuntimeStep
from ocifw.steps import AwaitStart, PassBaton

if TYPE_CHECKING:
    from collections.abc import Callable

    from ocifw.plan import Plan
    from ocifw.step import Step


class Event(Record):
    """Something that would happen. what: "apply" (by the runtime), "execute" (in the container), "fail" or "undo"."""

    what: str
    phase: str
    step: Step

    def __str__(self) -> str:
        return f"{self.what} {self.phase}: {self.step.plugin}: {self.step.describe()}"


class RecordingRuntime:
    """Walks a plan as ocifw and ocifw-init do. events: what happened until now."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._done: list[RuntimeStep] = []

    def create(self, plan: Plan, fail: Callable[[Step], bool] = lambda step: False) -> bool:
        """Up to `created`, or, when `fail` is true of a step, back again. Returns whether it got there."""
        steps: list[tuple[str, Step]] = [("apply", step) for step in plan.runtime(phases.PREPARE)]
        numbers = {phase.number: phase for phase in phases.PHASES}
        for own in plan.program():
            if isinstance(own, AwaitStart):
                break
            if isinstance(own, PassBaton):
                steps += [("apply", one) for one in plan.runtime(numbers[own.phase_number])]
            else:
                steps.append(("execute", own))
        for what, step in steps:
            if isinstance(step, RuntimeStep) and step.undoable:
                # Before it is applied: it may fail half-way.
                self._done.append(step)
            if fail(step):
                self._note("fail", step)
                self.delete()
                return False
            self._note(what, step)
        return True

    def delete(self) -> None:
        """Take back what was done, in reverse order."""
        while self._done:
            self._note("undo", self._done.pop())

    def of(self, plugin: str) -> list[Event]:
        """What happened with steps of one plugin."""
        return [event for event in self.events if event.step.plugin == plugin]

    def _note(self, what: str, step: Step) -> None:
        self.events.append(Event(what, step.phase, step))
