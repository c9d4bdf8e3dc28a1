"""The phases of a container's life, in order: the one table from which planner, executor, `plan` and docs work.

The names are the spec's and the man pages'. *runtime* and *container* are the spec's words for the two sides; the
steps of a phase on the side "container" are executed by `ocifw-init`, those on the side "runtime" by this program.
"""

from __future__ import annotations

from .record import Record

RUNTIME = "runtime"
CONTAINER = "container"


class Phase(Record):
    """One phase.

    hook: the hook whose answers are its steps. process: what the container process is doing meanwhile.
    exec: whether `exec` goes through it, too. first_result: one plugin answers, the others are not asked.
    verb: the command in which it happens.
    """

    number: int
    name: str
    hook: str
    side: str
    process: str
    exec: bool = False
    first_result: bool = False
    verb: str = "create"


PREPARE = Phase(1, "prepare", "ocifw_prepare", RUNTIME, "does not exist", exec=True)
CLONE = Phase(2, "clone", "ocifw_clone", CONTAINER, "is made", exec=True, first_result=True)
ATTACH = Phase(3, "attach", "ocifw_attach", RUNTIME, "is in its namespaces, blocked", exec=True)
ENTER = Phase(4, "enter", "ocifw_enter", CONTAINER, "has the host's mounts, ids mapped", exec=True)
ROOTFS = Phase(5, "rootfs", "ocifw_rootfs", CONTAINER, "builds the new root")
CREATE_RUNTIME = Phase(
    6, "create_runtime", "ocifw_create_runtime", RUNTIME, "has built the new root, not entered it"
)
CREATE_CONTAINER = Phase(
    7,
    "create_container",
    "ocifw_create_container",
    CONTAINER,
    "has built the new root, not entered it",
)
PIVOT_ROOT = Phase(
    8, "pivot_root", "ocifw_pivot_root", CONTAINER, "changes its root", first_result=True
)
FINALIZE = Phase(
    9, "finalize", "ocifw_finalize", CONTAINER, "is in the new root, still privileged", exec=True
)
CREDENTIALS = Phase(
    10, "credentials", "ocifw_credentials", CONTAINER, "becomes its user", exec=True
)
CREATED = Phase(11, "created", "ocifw_created", RUNTIME, "waits for start")
START_CONTAINER = Phase(
    12, "start_container", "ocifw_start_container", CONTAINER, "is about to execute", verb="start"
)
SEAL = Phase(13, "seal", "ocifw_seal", CONTAINER, "says its last words", exec=True, verb="start")
POSTSTART = Phase(14, "poststart", "ocifw_poststart", RUNTIME, "runs the program", verb="start")
POSTSTOP = Phase(15, "poststop", "ocifw_poststop", RUNTIME, "is gone", verb="delete")

PHASES = (
    PREPARE,
    CLONE,
    ATTACH,
    ENTER,
    ROOTFS,
    CREATE_RUNTIME,
    CREATE_CONTAINER,
    PIVOT_ROOT,
    FINALIZE,
    CREDENTIALS,
    CREATED,
    START_CONTAINER,
    SEAL,
    POSTSTART,
    POSTSTOP,
)
EXEC_PHASES = tuple([phase for phase in PHASES if phase.exec])
