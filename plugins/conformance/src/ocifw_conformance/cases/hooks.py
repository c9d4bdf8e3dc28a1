"""runtime.md, Lifecycle; config.md, POSIX-platform Hooks: order, moment, place, state, failure."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ocifw_conformance.case import add_case, must, refuses
from ocifw_conformance.trial import RUNTIME_HOOKS, namespace

if TYPE_CHECKING:
    from ocifw_conformance.trial import Trial

HOOKS = "config.md, Hooks"
KINDS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip
CREATING = KINDS[:3]


def all_kinds(trial: Trial, script: str) -> None:
    """Add a hook of each kind; KIND in the script is its kind."""
    for kind in KINDS:
        trial.hook(kind, script.replace("KIND", kind))
    trial.process["env"].append(f"LOG={trial.log_file}")


def end(trial: Trial, name: str) -> None:
    """Kill and delete a container."""
    trial("kill", name, "KILL")
    trial.wait(name, "stopped")
    trial("delete", name)


@must(HOOKS)
def hooks_of_create(trial: Trial) -> None:
    """prestart, createRuntime and createContainer hooks run in this order during create."""
    all_kinds(trial, "echo KIND >>$LOG")
    trial.create()
    trial.same([kind for kind in trial.log() if kind in CREATING], list(CREATING))


@must(HOOKS, runc="poststart runs in create before its #4347")
def hooks_of_create_only(trial: Trial) -> None:
    """No other hooks run during create."""
    all_kinds(trial, "echo KIND >>$LOG")
    trial.create()
    trial.same(trial.log(), list(CREATING))


@must(HOOKS)
def hooks_of_start(trial: Trial) -> None:
    """startContainer hooks run during start, before the program executes."""
    trial.hook("startContainer", "echo startContainer >>$LOG")
    name = trial.create(f"echo program >>{trial.log_file}; exec sleep 1000")
    trial.same(trial.log(), [], "after create")
    trial("start", name)
    trial.until(lambda: len(trial.log()) == 2, "the program does not run")
    trial.same(trial.log(), ["startContainer", "program"])


@must(HOOKS, runc="poststart runs in create before its #4347")
def hooks_poststart(trial: Trial) -> None:
    """poststart hooks run after start was called, when the program executes, and before start returns."""
    wait = "i=0; while ! grep -q program $LOG && [ $i -lt 50 ]; do sleep 0.02; i=$((i+1)); done"
    trial.hook("poststart", f"{wait}; echo poststart >>$LOG", timeout=5)
    name = trial.create(f"echo program >>{trial.log_file}; exec sleep 1000")
    trial.same(trial.log(), [], "after create")
    trial("start", name)
    trial.same(trial.log(), ["program", "poststart"])


@must(HOOKS)
def hooks_poststop(trial: Trial) -> None:
    """poststop hooks run after the container was deleted, before delete returns."""
    trial.hook("poststop", "echo poststop >>$LOG")
    name = trial.running()
    trial("kill", name, "KILL")
    trial.wait(name, "stopped")
    trial.same(trial.log(), [], "before delete")
    trial("delete", name)
    trial.same(trial.log(), ["poststop"])


@must(HOOKS)
def hooks_in_listed_order(trial: Trial) -> None:
    """Hooks of one kind run in the order in which they are listed."""
    for kind in KINDS:
        for number in range(3):
            trial.hook(kind, f"echo {kind}{number} >>$LOG")
    end(trial, trial.running())
    for kind in KINDS:
        found = [line for line in trial.log() if line.startswith(kind)]
        trial.same(found, [f"{kind}{number}" for number in range(3)])


def _states(trial: Trial) -> tuple[str, dict[str, dict[str, Any]], int]:
    """Record what each kind of hook reads: the id, the states by kind, and the container's pid."""
    all_kinds(trial, 'echo KIND "$(cat)" >>$LOG')
    trial.config["annotations"] = {"org.example": "yes"}
    name = trial.create()
    pid = trial.pid(name)
    trial("start", name)
    end(trial, name)
    pairs = [line.split(" ", 1) for line in trial.log()]
    return name, {kind: json.loads(state) for kind, state in pairs}, pid


@must(HOOKS)
def hooks_state(trial: Trial) -> None:
    """Every hook reads the state of the container on its standard input: id, bundle, annotations, version."""
    name, states, _ = _states(trial)
    trial.same(sorted(states), sorted(KINDS), "hooks that ran")
    for kind, state in states.items():
        trial.same(state["id"], name, f"id in {kind}")
        trial.same(state["bundle"], str(trial.bundle), f"bundle in {kind}")
        trial.same(state["annotations"].get("org.example"), "yes", f"annotations in {kind}")
        trial.demand(state["ociVersion"], f"ociVersion in {kind}")


def _status(kind: str, status: str, runc: str = "") -> None:
    def attempt(trial: Trial) -> None:
        _, states, pid = _states(trial)
        trial.same(states[kind]["status"], status)
        if kind in ("prestart", "createRuntime", "poststart"):
            trial.same(states[kind]["pid"], pid, "pid")

    demand = f"The state that a {kind} hook reads has the status {status}"
    demand += ", and the pid." if kind in ("prestart", "createRuntime", "poststart") else "."
    add_case(f"hooks_status_{kind}", HOOKS, demand, attempt, runc)


_status("prestart", "creating")
_status("createRuntime", "creating")
_status("createContainer", "creating")
_status("startContainer", "created")
_status("poststart", "running", "poststart runs in create before its #4347")
_status("poststop", "stopped")


@must(HOOKS)
def hooks_namespaces(trial: Trial) -> None:
    """Hooks run in the runtime's namespaces, createContainer and startContainer hooks in the container's."""
    all_kinds(trial, "echo KIND $(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net) >>$LOG")
    name = trial.running()
    pid = trial.pid(name)
    inside = [namespace(pid, kind) for kind in ("mnt", "net")]
    own = [namespace("self", kind) for kind in ("mnt", "net")]
    end(trial, name)
    for line in trial.log():
        kind, *found = line.split()
        trial.same(found, own if kind in RUNTIME_HOOKS else inside, kind)


@must(HOOKS)
def hooks_paths(trial: Trial) -> None:
    """The path of a createContainer hook is one of the runtime's root, that of a startContainer hook one of the container's."""
    (trial.own_rootfs() / "only-inside").touch()
    for kind in ("createContainer", "startContainer"):
        trial.hook(kind, f"test -e /only-inside; echo {kind} $? >>$LOG")
    # To its end: whether start waits for the hook is another case's question.
    trial.run("true")
    trial.same(trial.log(), ["createContainer 1", "startContainer 0"])


@must(HOOKS)
def hooks_after_mounts(trial: Trial) -> None:
    """When createContainer hooks run, the mounts are made and the root is not yet entered."""
    root = trial.own_rootfs()
    script = f"grep -c ' {root}/proc ' /proc/self/mountinfo >>$LOG"
    trial.hook("createContainer", script)
    trial.create()
    trial.same(trial.log(), ["1"])


@must(HOOKS)
def hooks_arguments(trial: Trial) -> None:
    """A hook has the arguments of its entry, the first of them as argv[0], and its environment, none of the runtime's."""
    trial.keywords["env"] = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "FROM_THE_CALLER": "1"}
    script = 'echo "$0 $*" >>$LOG; env >>$LOG'
    args = ["sh", "-c", script, "zero", "one", "two"]
    trial.hook("createRuntime", script)
    entry = trial.config["hooks"]["createRuntime"][0]
    entry["args"], entry["env"] = args, [f"LOG={trial.log_file}", "A=b c"]
    trial.create()
    trial.same(trial.log()[0], "zero one two")
    trial.demand("A=b c" in trial.log(), "not its environment")
    trial.demand("FROM_THE_CALLER=1" not in trial.log(), "the caller's environment")


def _failure(kind: str) -> None:
    def fails(trial: Trial) -> None:
        trial.hook(kind, "exit 3")
        trial.hook("poststop", "echo poststop >>$LOG")
        trial.refused()

    def poststop(trial: Trial) -> None:
        fails(trial)
        trial.same(trial.log(), ["poststop"])

    add_case(
        f"hooks_{kind}_fails",
        HOOKS,
        f"A {kind} hook that fails is an error, and there is no container.",
        fails,
    )
    add_case(
        f"hooks_{kind}_fails_poststop",
        HOOKS,
        f"After a {kind} hook that fails, poststop hooks run.",
        poststop,
    )


for _kind in CREATING:
    _failure(_kind)


@must(HOOKS)
def hooks_start_container_fails(trial: Trial) -> None:
    """After a startContainer hook that fails, the program does not run, and the container is stopped."""
    trial.hook("startContainer", "exit 3")
    name = trial.create("echo ran")
    trial("start", name, check=False)
    if trial("state", name, check=False).status == 0:
        trial.wait(name, "stopped")
    trial.demand("ran" not in trial.out.read_text(), "the program runs")


@must(HOOKS, runc="writes it to the container's standard error")
def hooks_start_container_fails_start(trial: Trial) -> None:
    """A startContainer hook that fails makes start an error."""
    trial.hook("startContainer", "exit 3")
    trial.fails("start", trial.create())


@must(HOOKS, runc="poststart runs in create before its #4347")
def hooks_poststart_fails(trial: Trial) -> None:
    """A poststart hook that fails makes start an error; the container is stopped and deleted, and poststop hooks run."""
    trial.hook("poststart", "exit 3")
    trial.hook("poststop", "echo poststop >>$LOG")
    name = trial.create()
    trial.fails("start", name)
    trial.gone(name)
    trial.same(trial.log(), ["poststop"])


@must(HOOKS, runc="the error ends delete's hooks")
def hooks_poststop_fails(trial: Trial) -> None:
    """A poststop hook that fails is only warned of: the next ones run, and the container is deleted."""
    trial.hook("poststop", "exit 3")
    trial.hook("poststop", "echo second >>$LOG")
    name = trial.running()
    end(trial, name)
    trial.same(trial.log(), ["second"])
    trial.gone(name)


@must(HOOKS)
def hooks_timeout(trial: Trial) -> None:
    """A hook that runs longer than its timeout is ended, which is a failure."""
    trial.hook("createRuntime", "exec sleep 1000", timeout=1)
    began = time.monotonic()
    trial.refused()
    trial.demand(time.monotonic() - began < 5, "it was waited for")


def _entry(**fields: Any) -> Any:
    return lambda trial: trial.hook("createRuntime", "true", **fields)


refuses(
    "hooks_path_missing",
    HOOKS,
    "A hook whose program is not there is an error.",
    _entry(path="/nonexistent"),
)
refuses("hooks_path_relative", HOOKS, "The path of a hook is absolute.", _entry(path="sh"))
refuses(
    "hooks_timeout_zero",
    HOOKS,
    "A timeout is more than zero.",
    _entry(timeout=0),
)
