"""Steps: what plugins answer hooks with, and what a plan is made of.

A *container step* is a plain value that `ocifw-init` executes inside the container; the vocabulary is closed and
stands in `ocifw.steps`. A *runtime step* is a class of a plugin with `apply` and `undo` in Python, executed by the
runtime's own process outside the container.
"""

from __future__ import annotations

from .errors import PlanError
from .record import Record, keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from .context import Context


class Step(Record):
    """One action of a plan, with what it acts on.

    Beside its fields a step carries where it came from, which equality ignores:
    `plugin` and `phase` are stamped by the core; `at` is the path in config.json that asked for it, given by the
    plugin with the keyword `at`, as in `Mkdir("/run", at="mounts[3]")`.
    """

    _text: ClassVar[str] = ""

    plugin: ClassVar[str] = ""
    phase: ClassVar[str] = ""

    if TYPE_CHECKING:
        at: str = keyword(default="", kw_only=True)
    else:
        at = ""

        def __init__(self, *args, at="", **kwargs):
            self._fill(args, kwargs)
            if at:
                self.__dict__["at"] = at

    def stamp(self, plugin: str, phase: str) -> None:
        """Note which plugin answered with this step, in which phase. The first stamp stays."""
        values = self.__dict__
        if not self.plugin:
            values["plugin"] = plugin
        values["phase"] = phase

    def values(self) -> tuple[Any, ...]:
        return tuple([self.__dict__[name] for name in self._fields])

    def claims(self) -> tuple[tuple[str, ...], ...]:
        """What this step sets and no other step of another plugin may set, as `("mount", "/proc")`."""
        return ()

    def describe(self) -> str:
        """What the step does, for `ocifw plan` and for errors: `mount tmpfs on /dev`."""
        if self._text:
            return self._text.format_map({name: _Shown(value) for name, value in self.items()})
        return " ".join([type(self).__name__, *(f"{k}={v!r}" for k, v in self.items())])

    def failure(self, number: int, call: str, detail: str) -> str:
        """A text of its own for a failure of this step, or "" for the usual one. See `errors.StepFailed`."""
        return ""


class _Shown:
    """A field's value in `_text`, which also knows the formats of `ocifw.names`: `{kinds:namespaces}`."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getitem__(self, key: Any) -> _Shown:
        return _Shown(self._value[key])

    def __format__(self, spec: str) -> str:
        if spec.isalpha() and len(spec) > 1:
            from . import names

            return str(getattr(names, spec)(self._value))
        return format(self._value, spec)


class ContainerStep(Step):
    """A step that `ocifw-init` executes. Only the core defines these: see `ocifw.steps`."""

    _code: ClassVar[int] = 0


class RuntimeStep(Step):
    """A step of a plugin, applied by the runtime's process, outside the container.

    Fields must be made of what JSON can hold (str, int, bool, None, tuples and dicts of them): steps that can be
    undone are journaled before they are applied, and `delete` undoes them from the journal, when neither
    config.json nor the plan is there any more.
    """

    undoable: ClassVar[bool] = False
    """Whether `apply` leaves something behind that `undo` takes back."""

    was_applied: ClassVar[bool] = False
    """Of a step that was read from the journal of a killed `create`: whether `apply` had succeeded."""

    at_restore: ClassVar[bool] = False
    """Whether a step of the phases `attach` and `create_runtime` is applied to restored processes, too."""

    provides: ClassVar[tuple[str, ...]] = ()
    """Names of the file descriptors (slots) that `apply` puts into `context.fds` for container steps."""

    def apply(self, context: Context) -> None:
        """Do it. Raises OSError or OcifwError; then nothing of this step is left behind."""
        raise NotImplementedError

    def undo(self, context: Context) -> None:
        """Take it back. What is not there (any more) is no error: apply may never have run, or half."""

    def document(self) -> dict[str, Any]:
        """The step as JSON, for the journal and the state."""
        kind = type(self)
        return {
            "step": f"{kind.__module__}:{kind.__qualname__}",
            "plugin": self.plugin,
            "phase": self.phase,
            "at": self.at,
            "fields": dict(self.items()),
        }


def from_document(document: dict[str, Any]) -> RuntimeStep:
    """The runtime step that `document()` wrote down. Imports the plugin's module that defines it.

    Raises PlanError when the plugin that made the step is not installed any more or does not know it.
    """
    module_name, _, class_name = document["step"].partition(":")
    try:
        module = __import__(module_name, fromlist=[class_name])
        kind = getattr(module, class_name)
    except (ImportError, AttributeError) as error:
        raise PlanError(
            f"{document['step']} is needed to undo or finish a step of plugin {document['plugin']}: {error}"
        ) from None
    if not (isinstance(kind, type) and issubclass(kind, RuntimeStep)):
        raise PlanError(f"{document['step']} is not a runtime step")
    step: RuntimeStep = kind(**document["fields"], at=document["at"])
    step.stamp(document["plugin"], document["phase"])
    return step
