"""The plan: every step of a `create` or `exec`, in order, before any of it is done.

Planning is pure. The plugins' answers are put in the order of the phases; the core adds the steps that hold a program
together (waiting for start, looking up and executing it, changing sides), and checks what came: steps of the right
side, no two plugins that set the same thing, no field without an owner.
"""

from __future__ import annotations

from . import phases
from .errors import PlanError
from .step import ContainerStep, RuntimeStep, Step
from .steps import (
    AwaitStart,
    Clone,
    CloseFds,
    Execute,
    FindHome,
    LookupExecutable,
    PassBaton,
    Report,
    SendPidfd,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .context import Host, Request
    from .phases import Phase
    from .plugins import PluginSet

CORE = "core"
_IN_PROGRAM = {phases.POSTSTART.number, phases.POSTSTOP.number}


class Plan:
    """The steps of each phase, in order.

    request, config: what was planned. phases: pairs of phase and its steps, phases without steps included.
    """

    __slots__ = ("config", "phases", "request")

    def __init__(
        self,
        request: Request,
        config: dict[str, Any],
        answers: Sequence[tuple[Phase, Sequence[Step]]],
    ) -> None:
        self.request = request
        self.config = config
        self.phases = tuple(answers)

    @property
    def steps(self) -> list[Step]:
        """All steps, in order."""
        return [step for _, steps in self.phases for step in steps]

    def of(self, phase: Phase) -> list[Step]:
        """The steps of one phase."""
        return next((list(steps) for own, steps in self.phases if own == phase), [])

    def runtime(self, phase: Phase) -> list[RuntimeStep]:
        """The runtime steps of one phase, which is on the runtime's side."""
        return [step for step in self.of(phase) if isinstance(step, RuntimeStep)]

    def program(self, watched: bool = False) -> list[ContainerStep]:
        """What `ocifw-init` executes: the container's steps, and PassBaton wherever the runtime has something to do.

        watched: report the beginning of every phase, for plugins that watch them.
        """
        program: list[ContainerStep] = []
        cloned = False
        for phase, steps in self.phases:
            if phase.number in _IN_PROGRAM:
                continue
            if phase.side == phases.CONTAINER:
                own = [step for step in steps if isinstance(step, ContainerStep)]
                if watched and own and cloned:
                    # Nobody listens between `create` and `start`.
                    own.insert(isinstance(own[0], AwaitStart), _core(Report(phase.number), phase))
                program += own
                cloned = cloned or phase == phases.CLONE
            elif cloned and (steps or phase == phases.CREATED):
                program.append(_core(PassBaton(phase.number), phase))
        return program


def make_plan(plugins: PluginSet, config: dict[str, Any], request: Request, host: Host) -> Plan:
    """Ask the plugins, and put their answers in order. Changes nothing.

    config: effective and valid. Raises PlanError on a field that no plugin owns, on two claims on one thing, on a wrong
    kind of step; PluginError when a plugin fails; ConfigError with what plugins find wrong.
    """
    from .fields import set_fields

    if not config.get("process"):
        # config.md: only `start` needs one. Plugins need not know.
        config = {**config, "process": {}}
    fields = set_fields(config)
    if request.container is not None:
        # What the container's own process was given, a process that is added must not do without: its label.
        fields += set_fields({"process": request.container.config.get("process")})
    asked = plugins.asked(fields)
    arguments = {"config": config, "request": request, "host": host}
    validate(plugins, arguments, asked)
    answers: list[tuple[Phase, list[Step]]] = []
    for phase in phases.EXEC_PHASES if request.is_exec else phases.PHASES:
        if phase == phases.ROOTFS:
            arguments = {**arguments, "mounts": _mounts(plugins, arguments, asked)}
        found = plugins.ask(phase.hook, arguments, asked)
        if phase.first_result:
            found = [] if found is None else [found]
        steps = _flat(phase, found) if found else []
        steps = _with_core(phase, steps, config, request)
        for step in steps:
            step.stamp(CORE, phase.name)
        answers.append((phase, steps))
    _check_claims(answers)
    return Plan(request, config, answers)


def validate(plugins: PluginSet, arguments: dict[str, Any], asked: frozenset[str] | None) -> None:
    """Raise ConfigError with all problems that the plugins find in the config."""
    problems = [
        problem
        for found in plugins.ask("ocifw_validate", arguments, asked)
        for problem in found or ()
    ]
    if problems:
        from .errors import ConfigError

        raise ConfigError(problems)


def _mounts(
    plugins: PluginSet, arguments: dict[str, Any], asked: frozenset[str]
) -> list[list[ContainerStep]]:
    """The steps of each entry of `mounts`, from the first plugin that answers for its kind."""
    answers = []
    for index, mount in enumerate(arguments["config"].get("mounts") or ()):
        made = plugins.ask("ocifw_mount", {**arguments, "mount": mount, "index": index}, asked)
        if made is None:
            kind = mount.get("type", "bind")
            raise PlanError(f"mounts[{index}]: no active plugin mounts {kind!r}")
        answers.append(list(made))
    return answers


def _flat(phase: Phase, answers: Iterable[Iterable[Any]]) -> list[Step]:
    """The answers' steps in one list. Raises PlanError for what is no step of the phase's side."""
    side: type[Step] = ContainerStep if phase.side == phases.CONTAINER else RuntimeStep
    steps: list[Step] = []
    for answer in answers:
        if not isinstance(answer, (list, tuple)):
            raise PlanError(f"{phase.hook}: expected steps, not {type(answer).__name__}")
        for step in answer:
            if not isinstance(step, side):
                plugin = getattr(step, "plugin", "") or "a plugin"
                raise PlanError(
                    f"{plugin}: {phase.hook}: {step!r} is not a {side.__name__}"
                    f" and cannot be a step of phase {phase.name}"
                )
            steps.append(step)
    return steps


def _with_core(
    phase: Phase, steps: list[Step], config: dict[str, Any], request: Request
) -> list[Step]:
    """The steps of a phase with those of the core around them."""
    process = config.get("process") or {}
    if phase == phases.CLONE:
        return steps or [Clone()]
    if phase == phases.FINALIZE and request.pidfd:
        return [*steps, SendPidfd("pidfd", "setns" if request.is_exec else "standard")]
    if phase == phases.CREDENTIALS and process:
        name = process["args"][0]
        if not any(entry.startswith("HOME=") for entry in process.get("env") or ()):
            # Before the process becomes its user, who may not be allowed to read the file.
            uid = (process.get("user") or {}).get("uid", 0)
            steps = [FindHome(uid, at="process.env"), *steps]
        return [*steps, LookupExecutable(name, _search_path(process), at="process.args[0]")]
    if phase == phases.START_CONTAINER and not request.run:
        return [AwaitStart("start"), *steps]
    if phase == phases.SEAL:
        first = 3 + request.preserve_fds + request.listen_fds
        if not process:
            return [CloseFds(first), *steps]
        program = Execute(tuple(process["args"]), environment(process, request), at="process.args")
        return [CloseFds(first), *steps, program]
    return steps


def _search_path(process: dict[str, Any]) -> str:
    """PATH of the process; the last one counts, as for the program itself."""
    for entry in reversed(process.get("env") or ()):
        if entry.startswith("PATH="):
            return str(entry[5:])
    return ""


def environment(process: dict[str, Any], request: Request) -> tuple[str, ...]:
    """The program's environment: process.env without earlier values of a name that comes again, and what
    systemd's protocols need: LISTEN_FDS for passed sockets, NOTIFY_SOCKET for the proxy in the container.
    """
    entries = process.get("env") or ()
    last = {entry.partition("=")[0]: entry for entry in entries}
    if request.listen_fds:
        last["LISTEN_FDS"] = f"LISTEN_FDS={request.listen_fds}"
        last["LISTEN_PID"] = "LISTEN_PID=1"
    if request.notify_socket:
        last["NOTIFY_SOCKET"] = "NOTIFY_SOCKET=/run/notify/notify.sock"
    return tuple(last.values())


def _core(step: ContainerStep, phase: Phase) -> ContainerStep:
    step.stamp(CORE, phase.name)
    return step


def _check_claims(answers: Iterable[tuple[Phase, Iterable[Step]]]) -> None:
    """Raise PlanError when two plugins set one thing, naming both and where each was asked to."""
    claimed: dict[tuple[str, ...], Step] = {}
    for _, steps in answers:
        for step in steps:
            for claim in step.claims():
                other = claimed.setdefault(claim, step)
                if other.plugin != step.plugin and not _are_listed(other, step):
                    raise PlanError(
                        f"{' '.join(claim)} is set by two plugins: {_by(other)} and {_by(step)}"
                    )


def _are_listed(one: Step, other: Step) -> bool:
    """Whether both come from the list `mounts` of the config: what it puts over each other, it wants so."""
    return one.at.startswith("mounts[") and other.at.startswith("mounts[")


def _by(step: Step) -> str:
    return f"{step.plugin} ({step.describe()}{f', {step.at}' if step.at else ''})"
