"""runtime.md: State, Lifecycle, Operations; features.md."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocifw_conformance import machine
from ocifw_conformance.case import add_case, must, refuses

if TYPE_CHECKING:
    from ocifw_conformance.trial import Trial

STATE = "runtime.md, State"
LIFECYCLE = "runtime.md, Lifecycle"
CREATE = "runtime.md, Create"
START = "runtime.md, Start"
KILL = "runtime.md, Kill"
DELETE = "runtime.md, Delete"
UNKNOWN = "unheard-of"


@must(STATE)
def state_fields(trial: Trial) -> None:
    """The state document has ociVersion, id, status and bundle, and the pid of a container that is created."""
    name = trial.create()
    state = trial.state(name)
    trial.same(state["id"], name, "id")
    trial.same(state["status"], "created", "status")
    trial.same(state["bundle"], str(trial.bundle), "bundle")
    trial.demand(str(state["ociVersion"]).startswith("1."), "no ociVersion")
    trial.demand(Path(f"/proc/{state['pid']}").exists(), "the pid is no process")


@must(STATE)
def state_bundle_is_absolute(trial: Trial) -> None:
    """The bundle in the state document is an absolute path, also when create was given a relative one."""
    trial.keywords["cwd"] = trial.write().parent
    name = trial.new_id()
    trial("create", "--bundle", trial.bundle.name, name)
    trial.same(trial.state(name)["bundle"], str(trial.bundle))


@must(STATE)
def state_annotations(trial: Trial) -> None:
    """The state document has the annotations of the config."""
    trial.config["annotations"] = {"org.example": "ü"}
    annotations = trial.state(trial.create())["annotations"]
    trial.same(annotations.get("org.example"), "ü")


@must(STATE)
def state_running(trial: Trial) -> None:
    """The status is running after start, with the pid of create."""
    name = trial.create()
    pid = trial.pid(name)
    trial("start", name)
    state = trial.state(name)
    trial.same((state["status"], state["pid"]), ("running", pid))


@must(STATE)
def state_stopped(trial: Trial) -> None:
    """The status is stopped when the process has ended."""
    trial.stopped()


@must(CREATE)
def create_needs_an_id(trial: Trial) -> None:
    """Create without an id is an error."""
    trial.fails("create", "--bundle", trial.write())


@must(CREATE)
def create_needs_a_bundle(trial: Trial) -> None:
    """Create of a bundle that is not there is an error, and no container."""
    name = trial.new_id()
    trial.fails("create", "--bundle", "/nonexistent", name)
    trial.gone(name)


@must(CREATE)
def create_twice(trial: Trial) -> None:
    """Create with an id that is taken is an error, and the container of this id stays as it is."""
    name = trial.create()
    before = trial.state(name)
    trial.fails("create", "--bundle", trial.bundle, name)
    trial.same(trial.state(name)["pid"], before["pid"])


@must(CREATE)
def create_invalid_id(trial: Trial) -> None:
    """Create with an invalid id is an error."""
    for name in ("../x", "a/b", "a b"):
        done = trial("create", "--bundle", trial.write(), name, check=False)
        trial.demand(done.status != 0, f"{name!r} is accepted")


@must(CREATE)
def create_does_not_run(trial: Trial) -> None:
    """Create does not run the program, and start does."""
    name = trial.create("echo ran")
    trial.same(trial.out.read_text(), "", "after create")
    trial("start", name)
    trial.until(lambda: trial.out.read_text() == "ran\n", "start does not run it")


@must(CREATE)
def create_reads_config_once(trial: Trial) -> None:
    """Changes of config.json after create do not affect the container."""
    name = trial.create("echo first")
    trial.sh("echo second")
    trial.config["root"]["path"] = "/nonexistent"
    trial.write()
    trial("start", name)
    trial.wait(name, "stopped")
    trial.same(trial.out.read_text(), "first\n")


@must(CREATE)
def create_all_or_nothing(trial: Trial) -> None:
    """A property that cannot be applied is an error, after which nothing of the container is left: no cgroup either."""
    trial.mount("/tmp", "nonsense", "nonsense")
    trial.refused()
    for controller in ("pids", "memory"):
        if not machine.cgroup_v2() and controller in machine.controllers():
            trial.demand(not trial.cgroup(controller).exists(), f"the {controller} cgroup is left")


@must(CREATE)
def create_id_is_free_again(trial: Trial) -> None:
    """After a create that failed its id can be used."""
    trial.process["args"] = ["/nonexistent"]
    name = trial.new_id()
    trial.fails("create", "--bundle", trial.write(), name)
    trial.sh("true")
    trial("create", "--bundle", trial.write(), name)


@must(START)
def start_a_running_container(trial: Trial) -> None:
    """Start of a container that is not created is an error, and has no effect: a running one goes on."""
    name = trial.running()
    pid = trial.pid(name)
    trial.fails("start", name)
    state = trial.state(name)
    trial.same((state["status"], state["pid"]), ("running", pid))


@must(START)
def start_a_stopped_container(trial: Trial) -> None:
    """Start of a container that is stopped is an error, and it stays stopped."""
    name = trial.stopped()
    trial.fails("start", name)
    trial.same(trial.state(name)["status"], "stopped")


@must(START, runc="process is required at create already")
def start_without_process(trial: Trial) -> None:
    """process may be unset at create; start is then an error, and the container stays created."""
    del trial.config["process"]
    name = trial.new_id()
    trial("create", "--bundle", trial.write(), name)
    trial.fails("start", name)
    trial.same(trial.state(name)["status"], "created")


@must(KILL)
def kill_sends_the_signal(trial: Trial) -> None:
    """Kill sends the signal to the container's process, and only once it is delivered does anything happen."""
    name = trial.create("trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done")
    trial("start", name)
    trial.until(lambda: "ready" in trial.out.read_text(), "does not run")
    trial("kill", name, "USR1")
    trial.until(lambda: "usr1" in trial.out.read_text(), "the signal does not arrive")
    trial("kill", name, signal.SIGKILL.value)
    trial.wait(name, "stopped")


@must(KILL)
def kill_a_created_container(trial: Trial) -> None:
    """Kill works on a container that is created."""
    name = trial.create()
    trial("kill", name, "KILL")
    trial.wait(name, "stopped")


@must(KILL)
def kill_a_stopped_container(trial: Trial) -> None:
    """Kill of a container that is neither created nor running is an error."""
    trial.fails("kill", trial.stopped(), "KILL")


@must(DELETE)
def delete_a_stopped_container(trial: Trial) -> None:
    """Delete of a stopped container removes it, and its id can be used again."""
    name = trial.stopped()
    trial("delete", name)
    trial.gone(name)
    trial("create", "--bundle", trial.bundle, name)


@must(DELETE)
def delete_a_running_container(trial: Trial) -> None:
    """Delete of a container that is not stopped is an error, and has no effect: a running one goes on."""
    name = trial.running()
    trial.fails("delete", name)
    trial.same(trial.state(name)["status"], "running")


@must(DELETE, runc="deletes a created container")
def delete_a_created_container(trial: Trial) -> None:
    """Delete of a container that is created is an error, and has no effect."""
    name = trial.create()
    trial.fails("delete", name)
    trial.same(trial.state(name)["status"], "created")


@must(DELETE)
def delete_removes_what_create_made(trial: Trial) -> None:
    """Delete removes what create made: the cgroup, with those that the container made below it."""
    name = trial.running()
    folder = trial.cgroup("pids")
    (folder / "sub").mkdir()
    trial("kill", name, "KILL")
    trial.wait(name, "stopped")
    trial("delete", name)
    trial.demand(not folder.exists(), "the cgroup is left")


@must(DELETE)
def delete_removes_nothing_else(trial: Trial) -> None:
    """Delete removes nothing that create did not make: the bundle and a namespace that was joined stay."""
    pid = trial.holder("--net")
    trial.namespace("network", f"/proc/{pid}/ns/net")
    root = trial.own_rootfs()
    (root / "file").write_text("mine")
    name = trial.stopped()
    trial("delete", name)
    trial.demand((root / "file").exists() and (trial.bundle / "config.json").exists(), "it does")
    trial.demand(Path(f"/proc/{pid}/ns/net").exists(), "the namespace is gone")


def _unknown_id(section: str, verb: str, *more: str) -> None:
    def attempt(trial: Trial) -> None:
        trial.fails(verb, UNKNOWN, *more)

    demand = f"{verb.capitalize()} with an id that is not known is an error."
    add_case(f"{verb}_unknown_id", section, demand, attempt)


_unknown_id("runtime.md, Query State", "state")
_unknown_id(START, "start")
_unknown_id(KILL, "kill", "KILL")
_unknown_id(DELETE, "delete")


@must("features.md, Features")
def features_document(trial: Trial) -> None:
    """The features document (MAY) has ociVersionMin and ociVersionMax, and names the six kinds of hooks."""
    done = trial("features", check=False)
    trial.needs(done.status == 0, "a runtime with this document, which is optional")
    found: dict[str, Any] = json.loads(done.out)
    for key in ("ociVersionMin", "ociVersionMax"):
        trial.demand(found.get(key), f"no {key}")
    trial.same(len(found.get("hooks", ())), 6, "kinds of hooks")
    low, high = found["ociVersionMin"], found["ociVersionMax"]
    trial.demand(low <= high, f"from {low} to {high}")


@must("config.md, Extensibility")
def unknown_properties(trial: Trial) -> None:
    """An unknown property of the config is no error."""
    trial.config["unknown"] = {"a": [1]}
    trial.process["unknown"] = True
    trial.linux["unknown"] = "x"
    trial.same(trial.output("echo yes"), ["yes"])


def _invalid(name: str, what: str, change: Any, runc: str = "") -> None:
    refuses(
        f"invalid_{name}",
        "config.md, Valid values",
        f"An invalid value is an error: {what}.",
        change,
        runc,
    )


_invalid("namespace", "a type of namespace", lambda t: t.linux["namespaces"].append({"type": "x"}))
_invalid(
    "capability_type",
    "a string for a list",
    lambda t: t.process["capabilities"].update(bounding="x"),
)
_invalid("cwd", "a cwd that is not absolute", lambda t: t.process.update(cwd="home"))
_invalid("args", "no args", lambda t: t.process.update(args=[]))
_invalid(
    "version",
    "an ociVersion of another major",
    lambda t: t.config.update(ociVersion="2.0.0"),
    "not looked at",
)
_invalid("version_missing", "no ociVersion", lambda t: t.config.pop("ociVersion"), "not looked at")
_invalid(
    "annotation",
    "an annotation with an empty key",
    lambda t: t.config.update(annotations={"": "x"}),
    "not looked at",
)


@must("glossary.md, runtime namespace")
def runtime_namespace(trial: Trial) -> None:
    """Containers are made from the namespaces of the runtime: what is not asked for is inherited."""
    trial.namespace("ipc", keep=False)
    trial.config["mounts"] = [m for m in trial.config["mounts"] if m["type"] != "mqueue"]
    pid = trial.pid(trial.create())
    trial.same(os.readlink(f"/proc/{pid}/ns/ipc"), os.readlink("/proc/self/ns/ipc"))
