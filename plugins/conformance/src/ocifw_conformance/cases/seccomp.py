"""config-linux.md: Seccomp."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from ocifw_conformance.case import must, refuses, shows

if TYPE_CHECKING:
    from ocifw_conformance.case import Attempt
    from ocifw_conformance.trial import Trial

SECCOMP = "config-linux.md, Seccomp"
STATE = "config-linux.md, The container process state"
MACHINE = f"SCMP_ARCH_{os.uname().machine.upper()}"
MKDIR = ["mkdir", "mkdirat"]


def seccomp(**fields: Any) -> Attempt:
    """The change that adds a filter, which allows what nothing else is said of."""
    entry = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [MACHINE], **fields}
    return lambda trial: trial.linux.update(seccomp=entry)


def rule(action: str, names: list[str] = MKDIR, **fields: Any) -> Attempt:
    """The change that adds a filter with one rule."""
    return seccomp(syscalls=[{"names": names, "action": action, **fields}])


def both(*changes: Attempt) -> Attempt:
    """The change that makes several."""

    def change(trial: Trial) -> None:
        for one in changes:
            one(trial)

    return change


TRY = "mkdir /dev/shm/x 2>&1 && echo done"
FAILED = "mkdir /dev/shm/x 2>&1"
shows(
    "seccomp_mode",
    SECCOMP,
    "A filter is in force.",
    rule("SCMP_ACT_ERRNO"),
    "grep ^Seccomp: /proc/self/status",
    "Seccomp: 2",
)
shows(
    "seccomp_none", SECCOMP, "Without one there is none.", lambda t: None, "grep ^Seccomp: /proc/self/status", "Seccomp: 0",
)  # fmt: skip
shows(
    "seccomp_errno", SECCOMP, "SCMP_ACT_ERRNO fails with EPERM when nothing else is said.", rule("SCMP_ACT_ERRNO"),
    f"{FAILED} | grep -o 'not permitted'", "not permitted",
)  # fmt: skip
shows(
    "seccomp_errno_ret", SECCOMP, "errnoRet is the errno.", rule("SCMP_ACT_ERRNO", errnoRet=28),
    f"{FAILED} | grep -o 'No space left'", "No space left",
)  # fmt: skip
for _action in ("SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP"):
    shows(
        f"seccomp_{_action[9:].lower()}", SECCOMP, f"{_action} ends the process.", rule(_action),
        "(mkdir /dev/shm/x) 2>/dev/null; echo $?", str(128 + signal.SIGSYS),
    )  # fmt: skip
for _action in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
    shows(
        f"seccomp_{_action[9:].lower()}", SECCOMP, f"{_action} lets the call happen.", rule(_action), TRY, "done",
    )  # fmt: skip
shows(
    "seccomp_trace", SECCOMP, "SCMP_ACT_TRACE without a tracer is ENOSYS.", rule("SCMP_ACT_TRACE"),
    f"{FAILED} | grep -o 'not implemented'", "not implemented",
)  # fmt: skip


@must(SECCOMP)
def seccomp_default_action(trial: Trial) -> None:
    """defaultAction counts for calls that no rule names, with defaultErrnoRet."""
    calls = (
        "access arch_prctl brk capget capset chdir clone clone3 close close_range dup dup2 dup3"
        " execve execveat exit exit_group faccessat faccessat2 fchdir fchmod fchown fcntl fstat"
        " fstatfs futex getcwd getdents64 getegid geteuid getgid getpgrp getpid getppid getrandom"
        " getrlimit gettid getuid ioctl kill lseek lstat mmap mprotect mremap munmap newfstatat open"
        " openat openat2 pipe pipe2 poll ppoll prctl prlimit64 read readlink readlinkat recvmsg rseq"
        " rt_sigaction rt_sigprocmask rt_sigreturn seccomp sendmsg set_robust_list set_tid_address"
        " setgid setgroups setresgid setresuid setsid setuid sigaltstack stat statfs statx tgkill"
        " tkill umask uname vfork wait4 write writev mkdir epoll_pwait epoll_ctl epoll_create1"
        " eventfd2 sched_getaffinity sched_yield nanosleep clock_nanosleep madvise keyctl"
    ).split()
    allowed = [{"names": calls, "action": "SCMP_ACT_ALLOW"}]
    seccomp(defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=28, syscalls=allowed)(trial)
    trial.same(
        trial.output(f"{TRY}; rmdir /dev/shm/x 2>&1 | grep -o 'No space left'"),
        ["done", "No", "space", "left"],
    )


def _argument(name: str, op: str, value: int, two: int, wanted: str) -> None:
    # kill(2) with signal 0 asks only whether the process is there.
    arg = {"index": 1, "op": op, "value": value, "valueTwo": two}
    shows(
        f"seccomp_{name}", SECCOMP, f"A condition {op} on an argument counts.",
        rule("SCMP_ACT_ERRNO", ["kill"], args=[arg]), "kill -0 $$ 2>/dev/null && echo done || echo refused", wanted,
    )  # fmt: skip


_argument("eq", "SCMP_CMP_EQ", 0, 0, "refused")
_argument("ne", "SCMP_CMP_NE", 0, 0, "done")
_argument("lt", "SCMP_CMP_LT", 1, 0, "refused")
_argument("le", "SCMP_CMP_LE", 0, 0, "refused")
_argument("ge", "SCMP_CMP_GE", 1, 0, "done")
_argument("gt", "SCMP_CMP_GT", 0, 0, "done")
_argument("masked_eq", "SCMP_CMP_MASKED_EQ", 0xFF, 0, "refused")

shows(
    "seccomp_unknown_call", SECCOMP, "A system call that the runtime does not know is no error.",
    rule("SCMP_ACT_ERRNO", ["unheard_of"]), "echo yes", "yes",
)  # fmt: skip
shows(
    "seccomp_without_no_new_privileges", SECCOMP, "A filter counts without noNewPrivileges, too.",
    both(rule("SCMP_ACT_ERRNO"), lambda t: t.process.update(noNewPrivileges=False)),
    "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | cut -f2", "0 2",
)  # fmt: skip
for _flag in (
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
):
    shows(
        f"seccomp_flag_{_flag[20:].lower()}", SECCOMP, f"The flag {_flag} is understood.",
        seccomp(flags=[_flag], syscalls=[{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]),
        "grep ^Seccomp: /proc/self/status", "Seccomp: 2",
        "runc 1.1.5 knows no flags",
    )  # fmt: skip
refuses("seccomp_flag_unknown", SECCOMP, "A flag that is not known is an error.",
        seccomp(flags=["SECCOMP_FILTER_FLAG_X"], syscalls=[{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]))  # fmt: skip
refuses(
    "seccomp_action_unknown",
    SECCOMP,
    "An action that is not known is an error.",
    rule("SCMP_ACT_X"),
)
refuses(
    "seccomp_operator_unknown", SECCOMP, "An operator that is not known is an error.",
    rule("SCMP_ACT_ERRNO", args=[{"index": 0, "op": "SCMP_CMP_X", "value": 0}]),
)  # fmt: skip
refuses(
    "seccomp_architecture_unknown", SECCOMP, "An architecture that is not known is an error.",
    seccomp(architectures=["SCMP_ARCH_X"], syscalls=[{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]),
)  # fmt: skip
refuses(
    "seccomp_errno_ret_of_kill", SECCOMP, "errnoRet with an action that does not take one is an error.",
    rule("SCMP_ACT_KILL", errnoRet=1), "takes it",
)  # fmt: skip
refuses(
    "seccomp_default_errno_ret_of_allow", SECCOMP, "defaultErrnoRet with an action that does not take one is an error.",
    seccomp(defaultErrnoRet=1, syscalls=[{"names": MKDIR, "action": "SCMP_ACT_ERRNO"}]), "takes it",
)  # fmt: skip
refuses(
    "seccomp_metadata_alone", STATE, "listenerMetadata without listenerPath is an error.",
    both(rule("SCMP_ACT_ERRNO"), lambda t: t.linux["seccomp"].update(listenerMetadata="x")), "not looked at",
)  # fmt: skip
refuses(
    "seccomp_notify_alone", STATE, "SCMP_ACT_NOTIFY without listenerPath is an error.", rule("SCMP_ACT_NOTIFY"),
)  # fmt: skip
refuses(
    "seccomp_listener_missing", STATE, "A listenerPath at which nobody listens is an error.",
    both(rule("SCMP_ACT_NOTIFY"), lambda t: t.linux["seccomp"].update(listenerPath="/nonexistent")),
)  # fmt: skip


class Listener:
    """A seccomp agent that keeps what it is sent, and closes the listener's file descriptor: calls are then ENOSYS."""

    def __init__(self, path: str) -> None:
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(path)
        self.server.listen()
        self.server.settimeout(8)
        self.document, self.fds, self.ended = b"", 0, False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self.server.accept()
        except OSError:
            return
        with connection, self.server:
            connection.settimeout(8)
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            self.document, self.fds = data, len(fds)
            for fd in fds:
                os.close(fd)
            while data:
                data = connection.recv(65536)
                self.document += data
            self.ended = True


def _notified(trial: Trial) -> tuple[dict[str, Any], Listener, str]:
    path = str(trial.folder / "listener")
    listener = Listener(path)
    rule("SCMP_ACT_NOTIFY")(trial)
    trial.linux["seccomp"] |= {"listenerPath": path, "listenerMetadata": "meta"}
    name = trial.create(f"{FAILED} | grep -o 'not implemented'")
    trial("start", name)
    trial.wait(name, "stopped")
    listener.thread.join(5)
    state: dict[str, Any] = json.loads(listener.document)
    return state, listener, name


@must(STATE)
def seccomp_notify(trial: Trial) -> None:
    """SCMP_ACT_NOTIFY asks the listener, whose file descriptor is sent to listenerPath."""
    _, listener, _ = _notified(trial)
    trial.same(listener.fds, 1, "file descriptors")
    trial.same(trial.out.read_text().split(), ["not", "implemented"])


@must(STATE)
def seccomp_process_state(trial: Trial) -> None:
    """What is sent is one container process state: ociVersion, fds, pid, metadata, state; then the connection is closed."""
    state, listener, name = _notified(trial)
    trial.same(state["fds"], ["seccompFd"], "fds")
    trial.same(state["metadata"], "meta", "metadata")
    trial.same(state["state"]["id"], name, "id")
    trial.same(state["state"]["status"], "creating", "status")
    trial.demand(state["ociVersion"] and state["pid"] > 0, "no ociVersion or pid")
    trial.demand(listener.ended, "the connection stays open")
