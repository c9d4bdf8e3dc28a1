"""The spec's operations on a container that was created: start, kill, delete.

What applies and undoes steps is only imported where there are some: most containers have none after they were created.

Each that changes a container holds its lock; `kill` does not, so that it reaches one whose `start` hangs.
"""

from __future__ import annotations

import os
from errno import ECONNREFUSED, ENOENT

from . import container as containers
from .container import Container, Lock
from .context import Context, Host
from .errors import ContainerError, NotFound, OcifwError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .context import Globals
    from .notify import Proxy
    from .phases import Phase
    from .step import ContainerStep, RuntimeStep, Step

SIGKILL = 9
_KILL_PATIENCE_S = 10.0
_MESSAGE_LIMIT = 8192  # native/README.md

# ---- start -------------------------------------------------------------------------------------------------------


def start(globals_: Globals, container_id: str) -> None:
    """Let a created container execute its program; then poststart hooks.

    Raises ContainerError in every other status, with runc's texts; StepFailed when the program cannot be executed.
    """
    with Lock(containers.folder_of(globals_.root, container_id)):
        container = containers.load(globals_.root, container_id)
        status = container.status
        if status == "stopped":
            raise ContainerError("cannot start a container that has stopped")
        if status == "creating":
            raise ContainerError("cannot start a container that is being created")
        if status != "created":
            raise ContainerError("cannot start an already running container")
        if not container.config.get("process"):
            raise ContainerError("cannot start a container whose config.json has no process")
        notify = _notify(container)
        _release(container)
    poststart(globals_, container)
    if notify is not None:
        wait_for_ready(container, notify)


def _notify(container: Container) -> Proxy | None:
    """The proxy for NOTIFY_SOCKET, listening before the program can look for it; None when `create` had none."""
    host_socket = container.state["notifySocket"]
    if not host_socket:
        return None
    from .notify import Proxy

    notify = Proxy(host_socket, container.folder)
    notify.listen()
    return notify


def wait_for_ready(container: Container, notify: Proxy) -> None:
    """As runc: `start` under a service manager ends when the service is ready, or over."""
    try:
        pidfd = container.pidfd()
    except ProcessLookupError:
        notify.close()
        return
    try:
        notify.wait(container.pid, pidfd)
    finally:
        os.close(pidfd)
        notify.close()


def _release(container: Container) -> None:
    """Connect to the waiting process, which then goes on; returns when the program was executed."""
    from .linux.unix import connect, receive_message

    directory = os.open(container.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        channel = connect(f"/proc/self/fd/{directory}/{containers.START}")
    except OSError as error:
        if error.errno not in (ECONNREFUSED, ENOENT):
            raise
        raise ContainerError("container process is already dead") from None
    finally:
        os.close(directory)
    try:
        data = receive_message(channel, _MESSAGE_LIMIT)[0]
        if not data:
            raise ContainerError("container process is already dead")
        containers.unlink(f"{container.folder}/{containers.START}")
        while data := receive_message(channel, _MESSAGE_LIMIT)[0]:
            from . import execute, phases

            kind = int.from_bytes(data[:4], "little")
            index = int.from_bytes(data[4:8], "little")
            number = int.from_bytes(data[8:12], "little", signed=True)
            if kind == execute.OUTPUT:
                value = int.from_bytes(data[12:16], "little")
                program, context = _recall_program(container), context_of(container)
                execute.note_output(context, program, index, number, value, data[16:])
                container.save()
            elif kind in (execute.ERROR, execute.WARNING):
                error_ = execute.failure(_recall_program(container), index, number, data[16:])
                if kind == execute.ERROR:
                    raise error_
                from . import log

                log.warning(str(error_))
            elif kind == execute.REPORT:
                phase = phases.PHASES[int.from_bytes(data[12:16], "little") - 1]
                _tell(container, phase, _recall_phase(container, phase.name))
    finally:
        os.close(channel)


def poststart(globals_: Globals, container: Container) -> None:
    """Run what was planned for after the program was executed. A failure stops and deletes the container."""
    documents = container.state["poststart"]
    if not documents:
        return
    from . import execute, phases

    context = context_of(container)
    try:
        steps = list(_steps(documents))
        _tell(container, phases.POSTSTART, steps)
        execute.apply_all(steps, context)
    except BaseException:
        delete(globals_, container.id, force=True)
        raise
    _keep_hooks(globals_, container)
    context.report()


def _keep_hooks(globals_: Globals, container: Container) -> None:
    """Write down how hooks went, unless the container was deleted meanwhile."""
    records = container.notes.get("hooks")
    if not records:
        return
    try:
        with Lock(container.folder):
            current = containers.load(globals_.root, container.id)
            current.notes["hooks"] = records
            current.save()
    except NotFound:
        pass


def _recall_program(container: Container) -> list[ContainerStep]:
    """A program in which the steps after AwaitStart are as they were, for `execute.failure`."""
    from . import steps

    empty = {"Blob": b"", "Vector": (), "Numbers": (), "Slot": ""}
    program: list[Any] = []
    for index, name, plugin, phase, at, fields in container.state["started"]:
        kind = getattr(steps, name)
        rest = {
            field: empty.get(str(kind.__annotations__[field]), "")
            for field in kind._fields
            if field not in fields
        }
        step = kind(**fields, **rest, at=at)
        step.stamp(plugin, phase)
        program += [step] * (index + 1 - len(program))
    return program


def _recall_phase(container: Container, phase: str) -> list[Step]:
    """The steps of one phase after start."""
    program = _recall_program(container)
    names = {index: name for index, name, *_ in container.state["started"]}
    return [
        step
        for index, step in enumerate(program)
        if step.phase == phase and names.get(index, "Report") != "Report"
    ]


# ---- kill, delete ------------------------------------------------------------------------------------------------


def kill(globals_: Globals, container_id: str, signal: int, all: bool = False) -> None:
    """Send a signal to the container process; with `all`, or for SIGKILL in a shared pid namespace, to all of them.

    Raises ContainerError `container not running` when it is stopped, except with `all`.
    """
    container = containers.load(globals_.root, container_id)
    status = container.status
    if status == "creating" or (status == "stopped" and not all):
        raise ContainerError("container not running")
    if all or (signal == SIGKILL and shares_pid_namespace(container.config)):
        reached = operate(container, "ocifw_kill_all", {"signal": signal})
        if reached or status == "stopped":
            return
    from .linux.pidfd import pidfd_send_signal

    try:
        fd = container.pidfd()
    except ProcessLookupError:
        raise ContainerError("container not running") from None
    try:
        pidfd_send_signal(fd, signal)
    except ProcessLookupError:
        raise ContainerError("container not running") from None
    finally:
        os.close(fd)
    if signal == SIGKILL and status == "paused":
        # A frozen process of a cgroup v1 freezer does not even die.
        operate(container, "ocifw_resume", {})


def shares_pid_namespace(config: Mapping[str, Any]) -> bool:
    """Whether the container has no pid namespace of its own, so that the death of its process is not that of all."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return not any(n["type"] == "pid" and not n.get("path") for n in namespaces)


def delete(globals_: Globals, container_id: str, force: bool = False) -> None:
    """Undo what `create` did, remove the state, and run poststop hooks.

    A created container's process is killed first (runc's way; the specification's is an error); a running one's only with
    `force`. Raises ContainerError otherwise, NotFound for an unknown id without `force`.
    """
    try:
        with Lock(containers.folder_of(globals_.root, container_id)):
            container = containers.load(globals_.root, container_id)
            status = container.status
            if not force and status not in _deletable(container):
                raise ContainerError(
                    f"cannot delete container {container_id} that is not stopped: {status}"
                )
            if container.pid:
                from . import plugins

                plugins.check_unchanged(container, plugins.of(container), refuse=not force)
            if status not in ("stopped", "creating"):
                _kill_and_wait(container)
            _destroy(container)
    except NotFound:
        if not force:
            raise


def _deletable(container: Container) -> tuple[str, ...]:
    profile = container.state.get("profile") or {}
    return ("stopped", "created") if profile.get("compat", "runc") == "runc" else ("stopped",)


def _kill_and_wait(container: Container) -> None:
    """SIGKILL the container process and wait until it is gone."""
    from select import POLLIN, poll

    from .linux.pidfd import pidfd_send_signal

    try:
        fd = container.pidfd()
    except ProcessLookupError:
        return
    try:
        pidfd_send_signal(fd, SIGKILL)
        if container.frozen():
            operate(container, "ocifw_resume", {})
        ended = poll()
        ended.register(fd, POLLIN)
        if not ended.poll(_KILL_PATIENCE_S * 1000):
            raise ContainerError("container init still running")
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def _destroy(container: Container) -> None:
    """Take back what `create` did, in reverse order. What cannot be taken back stays in the state, for another try."""
    from . import execute, phases

    context = context_of(container)
    context.pid = 0
    if container.pid and shares_pid_namespace(container.config):
        operate(container, "ocifw_kill_all", {"signal": SIGKILL})
    left = execute.undo(execute.read_journal(f"{container.folder}/{containers.JOURNAL}"), context)
    if left:
        raise OcifwError("; ".join(left))
    poststop = list(_steps(container.state["poststop"]))
    containers.remove_folder(container.folder)
    _tell(container, phases.POSTSTOP, poststop)
    execute.apply_each(poststop, context)
    context.report()


# ---- shared ------------------------------------------------------------------------------------------------------


def operate(container: Container, hook: str, arguments: dict[str, Any]) -> bool:
    """Apply the steps that the plugins answer to an operation's hook. Returns whether there were any."""
    from . import execute, plugins

    active = plugins.of(container)
    context = context_of(container)
    answers = active.ask(hook, {"container": container, "host": Host(), **arguments})
    steps = [step for answer in answers for step in answer]
    name = hook.partition("_")[2]
    for step in steps:
        step.stamp("", name)
    execute.apply_all(steps, context)
    context.report()
    return bool(steps)


def _steps(documents: Sequence[dict[str, Any]]) -> Iterator[RuntimeStep]:
    from .step import from_document

    return (from_document(one) for one in documents)


def _tell(container: Container, phase: Phase, steps: Sequence[Step]) -> None:
    """Tell the plugins that watch phases, if there were any when the container was created."""
    if steps and container.state.get("watched"):
        from . import plugins
        from .creation import watch

        tell = watch(plugins.of(container), context_of(container))
        if tell is not None:
            tell(phase, steps)


def context_of(container: Container) -> Context:
    """The context of an operation on a container that is there."""
    return Context(
        container.id,
        container.bundle,
        container.folder,
        container.state["ociVersion"],
        container.annotations,
        container.pid,
        container.notes,
    )
