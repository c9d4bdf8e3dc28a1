"""What stands between ocifw and plugins that are not its own, while they answer hooks. Only imported when there are some.

A plugin is root's code and can do everything; this is no sandbox. It is what turns a mistake of a plugin into an error that
names it, before it becomes somebody else's: it answers within a time limit, with what the hook expects, and what it was given
to read is as it was afterwards. It gets copies: whatever it does to them, the plan does not see.

Measured, for a config.json of podman (11 kB): 50 µs for the copy, once a command, and 9 µs for each answer.
"""

from __future__ import annotations

from _signal import (  # type: ignore[import-not-found]  # typeshed lacks it
    ITIMER_REAL,
    SIGALRM,
    setitimer,
    signal,
)
from marshal import dumps, loads
from time import monotonic

from . import phases
from .errors import PluginError, Problem
from .selection import held
from .step import ContainerStep, RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import GeneratorType
    from typing import Any

    from .context import Context
    from .plugins import Implementation, Plugin
else:
    GeneratorType = type(_ for _ in ())

_REPEAT_S = 0.05
_STEPS = {
    phase.hook: ContainerStep if phase.side == phases.CONTAINER else RuntimeStep
    for phase in phases.PHASES
}
_STEPS |= dict.fromkeys(
    (
        "ocifw_pause",
        "ocifw_resume",
        "ocifw_kill_all",
        "ocifw_update",
        "ocifw_checkpoint",
        "ocifw_restore",
    ),
    RuntimeStep,
)
_STEPS["ocifw_mount"] = ContainerStep
_MAPPINGS = (
    "ocifw_settings_schema",
    "ocifw_stats",
    "ocifw_features",
    "ocifw_commands",
    "ocifw_checkpoint_report",
)
_LISTS = {
    "ocifw_layers": dict,
    "ocifw_edits": dict,
    "ocifw_validate": Problem,
    "ocifw_hints": str,
    "ocifw_processes": int,
}


class TimeUp(BaseException):
    """Raised into a plugin that takes too long. No Exception, so that it is not caught by mistake."""


class Guard:
    """Calls plugins. plugins: the names of those it calls, which is all but ocifw's own."""

    def __init__(self, plugins: Iterable[Plugin], limit_s: float) -> None:
        self.plugins = frozenset([plugin.name for plugin in plugins if not plugin.first_party])
        self.limit_s = limit_s
        self._tolerated = frozenset([plugin.name for plugin in plugins if plugin.failure == "warn"])
        self._copies: dict[str, tuple[Any, Any]] = {}

    def tolerates(self, implementation: Implementation, error: BaseException) -> bool:
        """Whether the set says that failures of this plugin are warnings; then this one is logged."""
        if implementation.plugin not in self._tolerated or not isinstance(error, Exception):
            return False
        from . import log

        log.warning(f"{error} (left out: the plugin set says failure: warn)")
        return True

    def call(
        self,
        hook: str,
        implementation: Implementation,
        function: Callable[..., Any],
        arguments: dict[str, Any],
        settings: dict[str, dict[str, Any]],
    ) -> Any:
        """The answer of one plugin, generators as lists; of a wrapper, what stands for its generator.

        Raises PluginError when it takes too long, changes what it was given, or answers with what the hook does not expect;
        and whatever the plugin raises.
        """
        given = [
            self._given(name, implementation, arguments, settings)
            for name in implementation.arguments
        ]
        if implementation.wrapper:
            wrapper = Wrapper(self, hook, implementation, arguments)
            wrapper.begin(function, given)
            return wrapper
        answer = self.within_limit(hook, implementation, _whole, function, given)
        self.check_unchanged(hook, implementation, arguments)
        if "context" in implementation.arguments:
            seen = given[implementation.arguments.index("context")]
            arguments["context"].warnings += [
                f"plugin {implementation.plugin}: {text}" for text in seen.warnings
            ]
        return check_answer(hook, implementation.plugin, answer)

    # -- what is given ---------------------------------------------------------------------------------------------

    def _given(
        self,
        name: str,
        implementation: Implementation,
        arguments: dict[str, Any],
        settings: dict[str, dict[str, Any]],
    ) -> Any:
        if name == "settings":
            return loads(dumps(settings.get(implementation.plugin, {}), 2))  # noqa: S302 -- our own
        value = arguments[name]
        if name == "container":
            return type(value)(value.folder, self._copy(name, value.state))
        if name == "request" and value.container is not None:
            state = self._copy("request.container", value.container.state)
            return value.changed(container=type(value.container)(value.container.folder, state))
        if name == "context":
            return _seen(value)
        if type(value) is dict:
            return self._copy(name, value)
        if type(value) is list:
            # Of steps, which cannot be changed themselves.
            return tuple([tuple(item) if type(item) is list else item for item in value])
        return value

    def _copy(self, name: str, value: dict[str, Any]) -> dict[str, Any]:
        known = self._copies.get(name)
        if known is not None and known[0] is value and known[1] == value:
            own: dict[str, Any] = known[1]
            return own
        copy: dict[str, Any] = loads(dumps(value, 2))  # noqa: S302 -- our own
        self._copies[name] = (value, copy)
        return copy

    def check_unchanged(
        self, hook: str, implementation: Implementation, arguments: dict[str, Any]
    ) -> None:
        """Raise PluginError when the copies that the plugin got are no copies any more."""
        for name in implementation.arguments:
            if name not in arguments:
                continue
            if name == "request":
                name = "request.container"  # all else in it cannot be changed
            known = self._copies.get(name)
            if known is None:
                continue
            original, copy = known
            if original != copy:
                del self._copies[name]
                where = _difference(original, copy, name)
                raise PluginError(
                    implementation.plugin, hook, f"changed {where}, which is for reading only"
                )

    # -- time ------------------------------------------------------------------------------------------------------

    def within_limit(
        self,
        hook: str,
        implementation: Implementation,
        function: Callable[..., Any],
        *arguments: Any,
    ) -> Any:
        """Call a function; raises PluginError when it takes longer than the limit: then it is interrupted."""
        before = None
        remaining = (0.0, 0.0)
        try:
            # Signals are the main thread's, and of a library's caller: there the time is only measured.
            if held() is None:
                before = signal(SIGALRM, _time_up)
                remaining = setitimer(ITIMER_REAL, self.limit_s, _REPEAT_S)
        except ValueError:
            pass
        began = monotonic()
        try:
            answer = function(*arguments)
        except TimeUp:
            raise self._too_long(hook, implementation) from None
        except SystemExit as error:
            raise PluginError(implementation.plugin, hook, f"SystemExit: {error}") from error
        finally:
            if before is not None:
                setitimer(ITIMER_REAL, *remaining)
                signal(SIGALRM, before)
        if monotonic() - began > self.limit_s:
            raise self._too_long(hook, implementation)
        return answer

    def _too_long(self, hook: str, implementation: Implementation) -> PluginError:
        return PluginError(
            implementation.plugin, hook, f"took longer than {self.limit_s:g} s and was interrupted"
        )


class Wrapper:
    """A wrapper's generator, each part of which is called by the guard."""

    def __init__(
        self, guard: Guard, hook: str, implementation: Implementation, arguments: dict[str, Any]
    ) -> None:
        self.guard = guard
        self.hook = hook
        self.implementation = implementation
        self.arguments = arguments
        self.generator: Any = None

    def begin(self, function: Callable[..., Any], given: list[Any]) -> None:
        """Run up to the yield."""
        self.generator = function(*given)
        if type(self.generator) is not GeneratorType:
            raise PluginError(self.implementation.plugin, self.hook, "a wrapper must yield")
        self._guarded(next, self.generator)

    def send(self, result: Any) -> None:
        """Run after the yield. Raises StopIteration with the wrapper's result."""
        self._guarded(self.generator.send, result)

    def throw(self, failure: BaseException) -> None:
        """Raise at the yield."""
        self._guarded(self.generator.throw, failure)

    def close(self) -> None:
        self.generator.close()

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            self.guard.within_limit(self.hook, self.implementation, function, *arguments)
        except StopIteration as stop:
            self.guard.check_unchanged(self.hook, self.implementation, self.arguments)
            self._check_result(stop.value)
            raise
        self.guard.check_unchanged(self.hook, self.implementation, self.arguments)

    def _check_result(self, result: Any) -> None:
        plugin = self.implementation.plugin
        if self.hook in (
            "ocifw_clone",
            "ocifw_pivot_root",
            "ocifw_mount",
            "ocifw_processes",
            "ocifw_oom",
        ):
            check_answer(self.hook, plugin, result)
            return
        if not isinstance(result, list):
            raise PluginError(
                plugin,
                self.hook,
                f"the wrapper returned {_kind(result)}, expected the list of answers",
            )
        for answer in result:
            check_answer(self.hook, plugin, answer)


def check_answer(hook: str, plugin: str, answer: Any) -> Any:
    """The answer as it is. Raises PluginError when it is nothing that the hook expects; None is an answer to everything."""
    if answer is None:
        return None
    wanted = _STEPS.get(hook) or _LISTS.get(hook)
    if wanted is not None:
        name = {dict: "mappings", str: "texts", int: "numbers", Problem: "Problems"}.get(
            wanted, f"{wanted.__name__}s"
        )
        if type(answer) is not list and type(answer) is not tuple:
            raise PluginError(plugin, hook, f"answered with {_kind(answer)}, expected {name}")
        for item in answer:
            if not isinstance(item, wanted):
                raise PluginError(plugin, hook, f"answered with {_kind(item)} among {name}")
    elif hook in _MAPPINGS and not isinstance(answer, dict):
        raise PluginError(plugin, hook, f"answered with {_kind(answer)}, expected a mapping")
    return answer


def _seen(context: Context) -> Context:
    """The context as a plugin that watches sees it: a copy, without the file descriptors, which are not its to close."""
    seen = type(context)(
        context.id,
        context.bundle,
        context.state_dir,
        context.oci_version,
        dict(context.annotations),
        context.pid,
        loads(dumps(context.notes, 2)),  # noqa: S302 -- our own
    )
    seen.undoing = context.undoing
    return seen


def _kind(value: Any) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _whole(function: Callable[..., Any], given: list[Any]) -> Any:
    answer = function(*given)
    return list(answer) if type(answer) is GeneratorType else answer


def _time_up(*_: object) -> None:
    raise TimeUp


def _difference(old: Any, new: Any, path: str) -> str:
    """The first place in which two values differ, as `config.linux.seccomp`."""
    if type(old) is dict and type(new) is dict:
        for key in [*old, *new]:
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                return _difference(old.get(key), new.get(key), f"{path}.{key}")
    if type(old) is list and type(new) is list and len(old) == len(new):
        for index, pair in enumerate(zip(old, new)):
            if pair[0] != pair[1]:
                return _difference(*pair, f"{path}[{index}]")
    return path
