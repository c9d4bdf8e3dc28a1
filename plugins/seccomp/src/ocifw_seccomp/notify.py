"""Listeners: who decides about system calls with SCMP_ACT_NOTIFY. config-linux.md, Seccomp, The Container Process State.

The runtime connects to listenerPath and writes down the container process's state, with its pid as the host sees it,
while the process waits; the process loads the filter and sends both, the state and the listener's file descriptor.
"""

from __future__ import annotations

import os

from ocifw import document
from ocifw.errors import StepFailed
from ocifw.linux.memfd import sealed
from ocifw.linux.unix import PATH_LIMIT_BYTES, SOCK_STREAM, connect
from ocifw.steps import RuntimeStep

from . import PATH
from .cached import load_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Context, Host, Request
    from ocifw.steps import ContainerStep

LISTENER = "seccomp:listener"
STATE = "seccomp:state"


class ConnectListener(RuntimeStep):
    """Connect to a seccomp agent, and prepare the one message that it gets.

    container_pid: of exec, the pid of the container's own process; 0: it is the process that is being made.
    """

    _text = "connect to seccomp listener {path}"
    provides = (LISTENER, STATE)
    path: str
    metadata: str
    container_pid: int = 0

    def apply(self, context: Context) -> None:
        try:
            if len(os.fsencode(self.path)) <= PATH_LIMIT_BYTES:
                context.fds[LISTENER] = connect(self.path, SOCK_STREAM)
            else:
                above, _, name = self.path.rpartition("/")
                folder = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    path = f"/proc/self/fd/{folder}/{name}"
                    context.fds[LISTENER] = connect(path, SOCK_STREAM)
                finally:
                    os.close(folder)
        except OSError as error:
            raise StepFailed(self, error.errno or 0, "connect", "") from error
        state = document.dump(self.state(context)).encode()
        context.fds[STATE] = sealed("seccomp-state", state)

    def state(self, context: Context) -> dict[str, Any]:
        """The ContainerProcessState."""
        status = "running" if self.container_pid else "creating"
        return {
            "ociVersion": context.oci_version,
            "fds": ["seccompFd"],
            "pid": context.pid,
            "metadata": self.metadata,
            "state": context.oci_state(status, self.container_pid or context.pid),
        }


def asks(config: dict[str, Any]) -> bool:
    """Whether any system call is a listener's to decide."""
    calls = config["linux"]["seccomp"].get("syscalls") or ()
    return any(call.get("action") == "SCMP_ACT_NOTIFY" for call in calls)


def connect_steps(config: dict[str, Any], request: Request) -> Iterator[ConnectListener]:
    """The step that connects, when there is something to be decided. Else listenerPath is ignored, as it must be."""
    if asks(config):
        seccomp = config["linux"]["seccomp"]
        pid = request.container.pid if request.container is not None else 0
        metadata = seccomp.get("listenerMetadata") or ""
        yield ConnectListener(seccomp["listenerPath"], metadata, pid, at=f"{PATH}.listenerPath")


def load_steps(config: dict[str, Any], host: Host) -> list[ContainerStep]:
    """The step that loads the filter, with a listener when there is something to be decided."""
    seccomp = config["linux"]["seccomp"]
    if asks(config):
        return [*load_filter(seccomp, host.machine, LISTENER, STATE)]
    return [*load_filter(seccomp, host.machine)]
