"""config.md: Process, User, rlimits, capabilities, scheduling, terminal."""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import socket
import stat
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocifw_conformance import machine
from ocifw_conformance.case import must, refuses, shows
from ocifw_conformance.trial import HOOK_PATH

if TYPE_CHECKING:
    from ocifw_conformance.case import Attempt
    from ocifw_conformance.trial import Trial

PROCESS = "config.md, Process"
USER = "config.md, User"
POSIX = "config.md, POSIX process"
LINUX = "config.md, Linux process"
OLD = "runc 1.1 does not know it"
KILL_BIT = 5


def process(**fields: Any) -> Attempt:
    """The change that sets fields of the process."""
    return lambda trial: trial.process.update(fields)


def user(**fields: Any) -> Attempt:
    """The change that sets fields of the user."""
    return lambda trial: trial.process["user"].update(fields)


shows("process_cwd", PROCESS, "The program starts in cwd.", process(cwd="/tmp"), "pwd", "/tmp")
shows(
    "process_env", PROCESS, "The program has the environment of the config.",
    lambda t: t.process["env"].append("A=b"), "echo $A", "b",
)  # fmt: skip


@must(PROCESS)
def process_env_is_all(trial: Trial) -> None:
    """The program has nothing of the runtime's environment."""
    trial.keywords["env"] = {**os.environ, "FROM_THE_CALLER": "1"}
    found = trial.output("env")
    trial.demand("TERM=xterm" in found, "not that of the config")
    trial.demand("FROM_THE_CALLER=1" not in found, "the caller's environment")


@must(PROCESS)
def process_args(trial: Trial) -> None:
    """The program has the arguments of the config, unchanged."""
    trial.process["args"] = [
        "/bin/sh",
        "-c",
        'printf "%s|" "$0" "$@"',
        "zero",
        "",
        "a b",
        "$x",
        "ü",
    ]
    trial.same(trial.run().out, "zero||a b|$x|ü|")


@must(PROCESS)
def process_search_path(trial: Trial) -> None:
    """A program without a slash is looked for in PATH of the process's environment."""
    trial.own_rootfs()
    os.symlink("/bin/busybox", trial.rootfs / "srv/echo")
    trial.process["env"] = ["PATH=/srv"]
    trial.process["args"] = ["echo", "found"]
    trial.same(trial.run().out, "found\n")


refuses(
    "process_missing_program",
    PROCESS,
    "A program that is not there is an error.",
    process(args=["/nonexistent"]),
)


@must(PROCESS)
def process_console_size(trial: Trial) -> None:
    """consoleSize is ignored without a terminal."""
    trial.process["consoleSize"] = {"height": 10, "width": 20}
    trial.same(trial.output("test -t 0 || echo none"), ["none"])


class Terminal:
    """A container with a terminal, whose master was sent over a console socket."""

    def __init__(self, trial: Trial, script: str) -> None:
        path = str(trial.folder / "console")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            server.bind(path)
            server.listen()
            server.settimeout(5)
            trial.process["terminal"] = True
            name = trial.create(script, "--console-socket", path)
            connection, _ = server.accept()
            with connection:
                _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        self.master = fds[0]
        trial("start", name)

    def read(self) -> list[str]:
        """The words that the container writes until it ends."""
        data = b""
        while select.select([self.master], [], [], 5)[0]:
            try:
                piece = os.read(self.master, 4096)
            except OSError:
                break
            if not piece:
                break
            data += piece
        os.close(self.master)
        return data.decode(errors="replace").split()


@must(PROCESS)
def process_terminal(trial: Trial) -> None:
    """With terminal the streams are a pseudo-terminal, and /dev/console is the same."""
    script = "sleep 0.1; test -t 0 && test -t 1 && test -t 2 && echo all; echo said >/dev/console"
    trial.same(Terminal(trial, script).read(), ["all", "said"])


@must(PROCESS)
def process_terminal_size(trial: Trial) -> None:
    """consoleSize is the size of the terminal."""
    trial.process["consoleSize"] = {"height": 11, "width": 22}
    terminal = Terminal(trial, "sleep 0.1; stty size")
    size = array.array("H", [0] * 4)
    fcntl.ioctl(terminal.master, termios.TIOCGWINSZ, size)
    trial.same(terminal.read(), ["11", "22"])


# ---- user ----

shows(
    "user_ids",
    USER,
    "The program has the uid and gid.",
    user(uid=1000, gid=1001),
    "id -u; id -g",
    "1000 1001",
)
shows(
    "user_additional_gids", USER, "The program has the additional groups, and no others.",
    user(uid=1000, gid=1000, additionalGids=[5, 6]), "grep Groups /proc/self/status", "Groups: 5 6",
)  # fmt: skip
shows("user_no_groups", USER, "Without additionalGids it has none of the runtime's groups.",
      user(uid=1000, gid=1000), "grep Groups /proc/self/status", "Groups:")  # fmt: skip
shows("user_umask", USER, "The program has the umask.", user(umask=0o27), "umask", "0027")


@must(USER, runc="sets 0022")
def user_umask_unset(trial: Trial) -> None:
    """Without umask that of the runtime's caller stays."""
    trial.through = ["sh", "-c", 'umask 031; exec "$@"', "sh"]
    trial.same(trial.output("umask"), ["0031"])


@must(USER)
def user_in_user_namespace(trial: Trial) -> None:
    """uid and gid are those in the container's user namespace."""
    trial.user_namespace()
    trial.process["user"] = {"uid": 7, "gid": 8}
    name = trial.create()
    lines = Path(f"/proc/{trial.pid(name)}/status").read_text()
    trial.demand("Uid:\t100007" in lines and "Gid:\t100008" in lines, "other ids")


# ---- rlimits ----


@must(POSIX)
def rlimits(trial: Trial) -> None:
    """The program has the limits of the config."""
    trial.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    out = trial.output("ulimit -Sn; ulimit -Hn; ulimit -c")
    trial.same(out, ["100", "200", "0"])


refuses(
    "rlimits_unknown", POSIX, "A type of limit that is not known is an error.",
    process(rlimits=[{"type": "RLIMIT_X", "soft": 0, "hard": 0}]),
)  # fmt: skip
refuses(
    "rlimits_twice", POSIX, "Two limits of one type are an error.",
    process(rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2), "the last one counts",
)  # fmt: skip

# ---- Linux ----


def _capabilities(trial: Trial, uid: int) -> list[str]:
    trial.process["user"]["uid"] = uid
    return trial.output("grep ^Cap /proc/self/status | cut -f2 | sort -u")


@must(LINUX)
def capabilities(trial: Trial) -> None:
    """The program has each of the five sets of capabilities as the config says."""
    kinds = ("inheritable", "permitted", "effective", "bounding", "ambient")
    trial.process["capabilities"] = {kind: ["CAP_KILL"] for kind in kinds}
    trial.same(_capabilities(trial, 0), [f"{1 << KILL_BIT:016x}"])


@must(LINUX)
def capabilities_of_a_user(trial: Trial) -> None:
    """A program of another user than root has them, too."""
    kinds = ("inheritable", "permitted", "effective", "bounding", "ambient")
    trial.process["capabilities"] = {kind: ["CAP_KILL"] for kind in kinds}
    trial.same(_capabilities(trial, 1000), [f"{1 << KILL_BIT:016x}"])


@must(LINUX)
def capabilities_unknown(trial: Trial) -> None:
    """A capability that is not known is warned of, and no error."""
    for kind in ("bounding", "effective", "permitted"):
        trial.process["capabilities"][kind] = ["CAP_KILL", "CAP_UNHEARD_OF"]
    trial.process["capabilities"]["ambient"] = []
    done = trial.run("grep CapBnd /proc/self/status")
    trial.same(done.out.split(), ["CapBnd:", f"{1 << KILL_BIT:016x}"])
    trial.demand("CAP_UNHEARD_OF" in done.err, "no warning")


for _value in (True, False):
    shows(
        f"no_new_privileges_{str(_value).lower()}", LINUX, f"noNewPrivileges counts when it is {str(_value).lower()}.",
        process(noNewPrivileges=_value), "grep NoNewPrivs /proc/self/status", f"NoNewPrivs: {int(_value)}",
    )  # fmt: skip
shows(
    "oom_score_adj",
    LINUX,
    "oomScoreAdj is set exactly.",
    process(oomScoreAdj=321),
    "cat /proc/self/oom_score_adj",
    "321",
)


@must(LINUX)
def oom_score_adj_unset(trial: Trial) -> None:
    """Without oomScoreAdj it stays as it is."""
    trial.through = ["sh", "-c", 'echo 123 >/proc/self/oom_score_adj; exec "$@"', "sh"]
    trial.same(trial.output("cat /proc/self/oom_score_adj"), ["123"])


shows(
    "scheduler", LINUX, "The program has the scheduling policy and the nice value.",
    process(scheduler={"policy": "SCHED_BATCH", "nice": 7}), "cut -d' ' -f19,41 /proc/self/stat", "7 3", OLD,
)  # fmt: skip
refuses(
    "scheduler_policy", LINUX, "A scheduler without policy is an error.", process(scheduler={"nice": 7}), OLD,
)  # fmt: skip
refuses(
    "scheduler_priority", LINUX, "A scheduling policy that is not known is an error.",
    process(scheduler={"policy": "SCHED_X"}), OLD,
)  # fmt: skip
shows(
    "io_priority", LINUX, "The program has the I/O priority.",
    process(ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0}), "ionice -p 1", "idle", OLD,
)  # fmt: skip


@must(LINUX, runc=OLD)
def exec_cpu_affinity(trial: Trial) -> None:
    """execCPUAffinity.final is the CPU affinity of what exec runs."""
    trial.process["execCPUAffinity"] = {"initial": "0", "final": "0"}
    trial.needs(len(os.sched_getaffinity(0)) > 1, "two CPUs")
    name = trial.running()
    entry = {**trial.process, "args": ["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]}
    path = trial.folder / "process.json"
    path.write_text(json.dumps(entry))
    trial.same(trial("exec", "--process", path, name).out.split(), ["Cpus_allowed_list:", "0"])


@must(LINUX)
def apparmor_profile(trial: Trial) -> None:
    """apparmorProfile is the profile of the program."""
    trial.needs("AppArmor" in machine.security_modules(), "AppArmor")
    trial.process["apparmorProfile"] = "unconfined"
    trial.same(trial.output("cat /proc/self/attr/current"), ["unconfined"])


@must(LINUX)
def selinux_label(trial: Trial) -> None:
    """selinuxLabel is the label of the program."""
    trial.needs("SELinux" in machine.security_modules(), "SELinux")
    label = "system_u:system_r:container_t:s0:c1,c2"
    trial.process["selinuxLabel"] = label
    trial.same(trial.output("tr -d '\\0' </proc/self/attr/current"), [label])


@must(LINUX)
def labels_without_a_module(trial: Trial) -> None:
    """A profile that would not be enforced is an error."""
    trial.needs("AppArmor" not in machine.security_modules(), "a machine without AppArmor")
    trial.process["apparmorProfile"] = "nonexistent"
    trial.refused()


@must(PROCESS)
def process_streams(trial: Trial) -> None:
    """The program has its three streams, and no other file descriptor of the runtime."""
    # 3 is the folder that ls reads.
    trial.same(trial.output("ls /proc/self/fd"), ["0", "1", "2", "3"])


@must(PROCESS)
def process_exit_status(trial: Trial) -> None:
    """run ends with the program's status."""
    trial.same(trial.run("exit 7", check=False).status, 7)


@must(PROCESS)
def process_outside(trial: Trial) -> None:
    """The program's executable is looked for in the container, not in the runtime's root."""
    path = trial.folder / "outside"
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    trial.process["env"] = [HOOK_PATH, f"PATH={trial.folder}"]
    trial.process["args"] = ["outside"]
    trial.refused()
