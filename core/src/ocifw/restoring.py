"""Restoring a container: what `create` prepares on the host, then processes that come from images, not from a program."""

from __future__ import annotations

from . import container as containers
from . import execute, phases
from .container import Container
from .context import SPEC_VERSION, Context
from .creation import Creation, Reservation, watch, write_pid_file
from .dumped_policy import lost
from .errors import OcifwError
from .terminal import connect_console_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .context import Globals
    from .plan import Plan
    from .step import RuntimeStep
    from .terminal import Console


class Restoration:
    """One `restore`: what is read and planned first, then what is done. `options` are the command's flags."""

    def __init__(
        self, globals_: Globals, container_id: str, bundle: str, options: dict[str, Any]
    ) -> None:
        self.creation = Creation(
            globals_,
            container_id,
            bundle,
            no_pivot=options["no-pivot"],
            console=bool(options["console-socket"]),
            run=True,
        )
        self.creation.request = self.creation.request.changed(operation="restore")
        self.options = options
        if not self.creation.plugins.has("ocifw_restore"):
            raise OcifwError("restore: no active plugin handles it: install the plugin ocifw-criu")
        self.terminal = bool((self.creation.config.get("process") or {}).get("terminal"))

    def run(self, console: Console | None = None) -> Container:
        """Plan, reserve the id, prepare, restore. Undone as a whole when anything fails.

        console: what takes the container's terminal when there is no console socket.
        """
        creation = self.creation
        plan = creation.plan()
        context = Context(
            creation.request.id,
            creation.bundle,
            creation.folder,
            SPEC_VERSION,
            creation.config.get("annotations") or {},
        )
        context.warnings += creation.host.warnings
        context.warnings += lost(self.options["image-path"], creation.effective)
        restored = self._asked()
        container = Container(creation.folder, {"id": creation.request.id})
        with Reservation(creation.globals.root, creation.folder):
            try:
                journal = execute.Journal(f"{creation.folder}/{containers.JOURNAL}")
                try:
                    if console is not None:
                        context.fds["console"] = console.container_end()
                    elif self.options["console-socket"]:
                        context.fds["console"] = connect_console_socket(
                            self.options["console-socket"]
                        )
                    execution = execute.Execution(
                        plan, context, journal, watch(creation.plugins, context)
                    )
                    self._apply(plan, execution, restored)
                    try:
                        container.state = creation.state(plan, execution)
                        container.save()
                        self._tell_pid(context)
                    except BaseException:
                        execution.fail()
                        raise
                finally:
                    journal.close()
                    context.close()
            except BaseException:
                containers.remove_folder(creation.folder)
                context.report()
                raise
        context.report()
        return container

    def _asked(self) -> list[RuntimeStep]:
        """The steps that the plugins restore with. They look at the images: nothing is made before."""
        creation = self.creation
        arguments = {
            "config": creation.config,
            "options": self.options,
            "request": creation.request,
            "host": creation.host,
        }
        answers = creation.plugins.ask("ocifw_restore", arguments)
        steps: list[RuntimeStep] = [step for answer in answers for step in answer]
        for step in steps:
            step.stamp("", "restore")
        return steps

    def _apply(self, plan: Plan, execution: execute.Execution, restored: list[RuntimeStep]) -> None:
        def apply_phase(name: str) -> None:
            steps = next(plan.runtime(phase) for phase in phases.PHASES if phase.name == name)
            execution.apply_steps([step for step in steps if step.at_restore])

        context = execution.context
        context.apply_phase = apply_phase
        try:
            execution.apply_steps([*plan.runtime(phases.PREPARE), *restored])
            if not context.pid:
                raise OcifwError("restore: no plugin made a process")
            apply_phase(phases.ATTACH.name)
        except BaseException:
            execution.fail()
            raise
        finally:
            context.apply_phase = None

    def _tell_pid(self, context: Context) -> None:
        if self.options["pid-file"]:
            write_pid_file(self.options["pid-file"], context.pid)
        if self.options["pidfd-socket"]:
            from os import close

            from .linux.pidfd import pidfd_open
            from .linux.unix import send_message

            socket = connect_console_socket(self.options["pidfd-socket"])
            try:
                pidfd = pidfd_open(context.pid)
                try:
                    send_message(socket, b"standard", [pidfd])
                finally:
                    close(pidfd)
            finally:
                close(socket)


def restore(globals_: Globals, container_id: str, bundle: str, options: dict[str, Any]) -> int:
    """Bring a dumped container back. Detached, returns 0 at once; otherwise waits, deletes, and returns its exit status."""
    restoration = Restoration(globals_, container_id, bundle, options)
    detach = options["detach"]
    restoration.creation.check_terminal(detach)
    if detach:
        restoration.run()
        return 0
    from .foreground import end
    from .supervise import Supervisor
    from .terminal import Console

    supervisor = Supervisor(subreaper=not options["no-subreaper"])
    console = None
    try:
        if restoration.terminal:
            console = Console()
            restoration.creation.request = restoration.creation.request.changed(console=True)
        container = restoration.run(console)
        try:
            if console is not None:
                console.receive_master()
            return supervisor.wait(container.pid, console)
        finally:
            end(globals_, container)
    finally:
        if console is not None:
            console.close()
        supervisor.close()
