"""Hooks: when the six kinds run, with which state, where, and what their failure means."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.runc_agrees

FOREVER = "exec sleep 1000"
IN_RUNTIME = ("prestart", "createRuntime", "poststart", "poststop")
ORDER = [
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
]  # fmt: skip


@pytest.fixture
def hooks(make_bundle, tmp_path):
    """A bundle with hooks that record: `hooks.add(kind, script)`, `hooks.records()`."""
    return Hooks(make_bundle(rootfs=True), tmp_path / "records")


class Hooks:
    """Hooks append a line to one file, which is bound into the container for those that run in its root."""

    def __init__(self, bundle, folder):
        folder.mkdir()
        self.file = folder / "log"
        self.file.touch()
        self.bundle = bundle
        bundle.config["hooks"] = {}
        # startContainer hooks run in the container's root: the file has the same path there.
        bundle.config["mounts"].append(
            {
                "destination": str(folder),
                "source": str(folder),
                "type": "bind",
                "options": ["bind", "rw"],
            }
        )

    def add(self, kind, script, **fields):
        entry = {
            "path": "/bin/sh",
            "args": ["sh", "-c", script],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"LOG={self.file}"],
            **fields,
        }
        self.bundle.config["hooks"].setdefault(kind, []).append(entry)

    def lines(self):
        return self.file.read_text().splitlines()

    def states(self):
        """Pairs of a hook's kind and the state that it read."""
        pairs = (line.split(" ", 1) for line in self.lines())
        return [(kind, json.loads(state)) for kind, state in pairs]


@pytest.fixture
def only_spec(is_ocifw):
    if not is_ocifw:
        pytest.skip(
            "runc runs poststart hooks in create, and no poststop hook after one that failed"
        )


def test_run_runs_all(runtime, hooks):
    """`run` runs all six kinds."""
    for kind in ORDER:
        hooks.add(kind, f"echo {kind} >>$LOG")
    runtime.run(hooks.bundle.write())
    assert sorted(hooks.lines()) == sorted(ORDER)


def test_order_and_state(runtime, hooks, only_spec):
    """The kinds run in the spec's order, each with the container's state on standard input."""
    for kind in ORDER:
        hooks.add(kind, f'echo {kind} "$(cat)" >>$LOG')
    hooks.bundle.config["annotations"] = {"org.example": "yes"}
    container_id, _ = runtime.create(hooks.bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    assert [kind for kind, _ in hooks.states()] == ORDER[:3]
    runtime("start", container_id)
    assert [kind for kind, _ in hooks.states()] == ORDER[:5]
    runtime("delete", "--force", container_id)
    states = hooks.states()
    assert [kind for kind, _ in states] == ORDER
    for kind, state in states:
        assert state["id"] == container_id, kind
        assert state["bundle"] == str(hooks.bundle.path), kind
        assert state["annotations"]["org.example"] == "yes", kind
        assert state["ociVersion"], kind
    by_kind = dict(states)
    wanted = ["creating"] * 3 + ["created", "running", "stopped"]
    assert [by_kind[kind]["status"] for kind in ORDER] == wanted
    assert {by_kind[kind]["pid"] for kind in ("prestart", "createRuntime", "poststart")} == {pid}


def test_several_of_a_kind(runtime, hooks):
    """Hooks of one kind run in the order in which they are listed."""
    for number in range(4):
        hooks.add("createRuntime", f"echo {number} >>$LOG")
    runtime.run(hooks.bundle.write())
    assert hooks.lines() == ["0", "1", "2", "3"]


def test_namespaces(runtime, hooks):
    """Hooks run in the runtime's namespaces, but createContainer and startContainer in the container's."""
    for kind in ORDER[:5]:
        links = "$(readlink /proc/self/ns/mnt) $(readlink /proc/self/ns/net)"
        hooks.add(kind, f"echo {kind} {links} >>$LOG")
    container_id = runtime.running(hooks.bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    own = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net")]
    inside = [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "net")]
    for line in hooks.lines():
        kind, *found = line.split()
        assert found == (own if kind in IN_RUNTIME else inside), line


def test_start_container_runs_in_the_root(runtime, hooks):
    """startContainer hooks are programs of the container's root; createContainer hooks the host's."""
    root = Path(hooks.bundle.config["root"]["path"])
    (root / "only-inside").touch()
    for kind in ("createContainer", "startContainer"):
        hooks.add(kind, f"test -e /only-inside; echo {kind} $? >>$LOG")
    runtime.run(hooks.bundle.write())
    assert hooks.lines() == ["createContainer 1", "startContainer 0"]


def test_args_and_env(runtime, hooks):
    """A hook has the arguments and the environment of its entry, and none of the runtime's."""
    hooks.add(
        "createRuntime", 'echo "$0 $*" >>$LOG; env >>$LOG', env=[f"LOG={hooks.file}", "A=b c"]
    )
    hooks.bundle.config["hooks"]["createRuntime"][0]["args"] += ["zero", "one", "two"]
    runtime.run(hooks.bundle.write(), env={**os.environ, "FROM_THE_CALLER": "1"})
    lines = hooks.lines()
    assert lines[0] == "zero one two"
    assert "A=b c" in lines and "FROM_THE_CALLER=1" not in lines


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_failure_while_creating(runtime, hooks, kind):
    """A hook that fails while the container is created fails `create` with its output, and nothing is left of it."""
    hooks.add(kind, "echo to-out; echo to-err >&2; exit 3")
    done = runtime("create", "--bundle", hooks.bundle.write().path, runtime.id(), check=False)
    assert done.status == 1 and "hook" in done.err and "exit status 3" in done.err
    assert runtime("list", "-q").out == ""


def test_a_failure_of_start_container(runtime, hooks):
    """A startContainer hook that fails keeps the program from running."""
    hooks.add("startContainer", "exit 3")
    container_id, created = runtime.create(hooks.bundle.sh("echo ran"))
    runtime("start", container_id, check=False)
    runtime.wait_for(container_id, "stopped")
    assert "ran" not in created.out_path.read_text()


def test_a_failure_of_start_container_is_an_error(runtime, hooks, is_ocifw):
    """`start` tells of a startContainer hook that fails."""
    if not is_ocifw:
        pytest.skip("runc writes it to the container's standard error")
    hooks.add("startContainer", "echo because; exit 3")
    container_id, _ = runtime.create(hooks.bundle.write())
    done = runtime("start", container_id, check=False)
    assert done.status == 1 and "hook" in done.err


def test_a_failure_of_poststop(runtime, hooks, only_spec):
    """A poststop hook that fails is only a warning; those after it run, and the container is deleted."""
    hooks.add("poststop", "exit 3")
    hooks.add("poststop", "echo second >>$LOG")
    container_id, _ = runtime.create(hooks.bundle.write())
    runtime("delete", container_id)
    assert hooks.lines() == ["second"]
    assert runtime("list", "-q").out == ""


def test_a_failure_of_poststart(runtime, hooks, only_spec):
    """A poststart hook that fails makes `start` fail."""
    hooks.add("poststart", "exit 3")
    container_id, _ = runtime.create(hooks.bundle.sh(FOREVER))
    done = runtime("start", container_id, check=False)
    assert done.status == 1 and "hook" in done.err


def test_a_missing_program(runtime, hooks):
    """A hook whose program is not there is an error that names it."""
    hooks.add("createRuntime", "", path="/nonexistent/hook")
    done = runtime("create", "--bundle", hooks.bundle.write().path, runtime.id(), check=False)
    assert done.status == 1
    assert "/nonexistent/hook" in done.err and "no such file or directory" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_timeout(runtime, hooks, kind):
    """A hook that runs longer than its timeout is killed, and is a failure."""
    hooks.add(kind, "echo $$ >>$LOG; exec sleep 1000", timeout=1)
    before = time.monotonic()
    done = runtime("create", "--bundle", hooks.bundle.write().path, runtime.id(), check=False)
    assert done.status == 1 and "hook" in done.err
    assert 1 <= time.monotonic() - before < 10
    if kind == "createRuntime":
        assert not Path(f"/proc/{hooks.lines()[0]}/environ").exists()


def test_cgroup_is_there(runtime, hooks):
    """When createRuntime hooks run, the container is in its cgroup, with its limits."""
    hooks.bundle.linux["resources"]["pids"] = {"limit": 55}
    hooks.add("createRuntime", f"cat {hooks.bundle.cgroup('pids')}/pids.max >>$LOG")
    runtime.run(hooks.bundle.write())
    assert hooks.lines() == ["55"]


def test_create_runtime_can_configure_the_network(runtime, hooks):
    """createRuntime hooks find the container's network namespace by its pid: CNI's way."""
    script = "p=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); nsenter -t $p -n ip link add veth7 type veth && echo made >>$LOG"
    hooks.add("createRuntime", script)
    done = runtime.run(hooks.bundle.sh("ip link show veth7"), check=False)
    assert hooks.lines() == ["made"] and "veth7" in done.out, done


def test_no_fds_of_the_runtime(runtime, hooks):
    """A hook has its three streams, and no other file descriptor."""
    for kind in ORDER:
        hooks.add(kind, f"echo {kind} $(ls /proc/self/fd) >>$LOG")
    runtime.run(hooks.bundle.write())
    lines = dict(line.split(" ", 1) for line in hooks.lines())
    # 3 is the folder that ls reads.
    assert {kind: lines[kind] for kind in IN_RUNTIME} == dict.fromkeys(IN_RUNTIME, "0 1 2 3")


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_poststop_after_a_failure(runtime, hooks, kind):
    """runtime.md, Lifecycle 3 to 5: after a hook that fails, poststop hooks run."""
    hooks.add(kind, f"echo {kind} >>$LOG; exit 3")
    hooks.add("poststop", "echo poststop >>$LOG; exit 4")
    hooks.add("poststop", "echo and the next >>$LOG")
    done = runtime("create", "--bundle", hooks.bundle.write().path, runtime.id(), check=False)
    assert done.status == 1 and "exit status 3" in done.err
    assert hooks.lines()[:2] == [kind, "poststop"]


def test_poststop_after_a_missing_program(runtime, hooks):
    """Whatever `create` fails for, poststop hooks clean up after those that ran."""
    hooks.add("createRuntime", "echo createRuntime >>$LOG")
    hooks.add("poststop", "echo poststop >>$LOG")
    hooks.bundle.process["args"] = ["/nonexistent"]
    runtime("create", "--bundle", hooks.bundle.write().path, runtime.id(), check=False)
    assert hooks.lines() == ["createRuntime", "poststop"]


def test_poststart_failure_ends_the_container(runtime, hooks, only_spec):
    """runtime.md, Lifecycle 9: after a poststart hook that fails, the container is stopped and deleted, with poststop."""
    hooks.add("poststart", "echo because; exit 3")
    hooks.add("poststop", "echo poststop >>$LOG")
    container_id, _ = runtime.create(hooks.bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    done = runtime("start", container_id, check=False)
    assert done.status == 1 and "because" in done.err
    assert hooks.lines() == ["poststop"]
    assert runtime("list", "-q").out == ""
    assert os.waitpid(pid, 0)[0] == pid


def test_poststop_after_start_container_fails(runtime, hooks):
    """After a startContainer hook that fails, the container is stopped, and `delete` runs poststop hooks."""
    hooks.add("startContainer", "exit 3")
    hooks.add("poststop", "echo poststop >>$LOG")
    container_id, _ = runtime.create(hooks.bundle.sh(FOREVER))
    runtime("start", container_id, check=False)
    runtime.wait_for(container_id, "stopped")
    runtime("delete", container_id)
    assert hooks.lines() == ["poststop"]


@pytest.fixture
def only_ocifw(is_ocifw):
    if not is_ocifw:
        pytest.skip("ocifw's own command")


@pytest.fixture
def talking(runtime, hooks, only_ocifw):
    """The id of a running container of which each kind of hook but poststop has run and said something."""
    for kind in ORDER[:5]:
        hooks.add(kind, f"echo {kind}; echo to-err >&2; cat >>$LOG; echo >>$LOG")
    return runtime.running(hooks.bundle.sh(FOREVER))


def test_list(runtime, talking):
    """`hooks list` shows what each hook that ran wrote, how it ended and how long it took, on both sides."""
    found = json.loads(runtime("hooks", "list", "--format", "json", talking).out)
    assert [one["kind"] for one in found] == ORDER[:5]
    for one in found:
        assert one["stdout"] == f"{one['kind']}\n" and one["stderr"] == "to-err\n"
        assert one["status"] == 0 and one["index"] == 0 and one["path"] == "/bin/sh"
        assert 0 <= one["durationMs"] < 10_000
    shown = runtime("hooks", "list", talking).out
    assert "createContainer[0]" in shown and "stderr: to-err" in shown


def test_list_of_run(runtime, hooks, only_ocifw):
    """`run` keeps the output of hooks as `create` and `start` do."""
    hooks.add("startContainer", "echo inside")
    hooks.add("poststart", "printf '\\033[31m'; yes | head -c 10000")
    container_id = runtime.id()
    runtime("run", "--detach", "--bundle", hooks.bundle.sh(FOREVER).path, container_id)
    found = json.loads(runtime("hooks", "list", "--format", "json", container_id).out)
    assert [one["kind"] for one in found] == ["startContainer", "poststart"]
    assert found[0]["stdout"] == "inside\n" and len(found[1]["stdout"]) == 4096
    assert "\033" not in runtime("hooks", "list", container_id).out


def test_list_after_a_failure(runtime, hooks, only_ocifw):
    """A startContainer hook that failed is in the list of the container, which is still there."""
    hooks.add("startContainer", "echo because; exit 3")
    container_id, _ = runtime.create(hooks.bundle.write())
    runtime("start", container_id, check=False)
    [one] = json.loads(runtime("hooks", "list", "--format", "json", container_id).out)
    assert (one["kind"], one["status"], one["stdout"]) == ("startContainer", 3, "because\n")


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "startContainer", "poststart"])
def test_replay(runtime, hooks, talking, kind):
    """`hooks replay` runs a hook again, with what it had on standard input, and passes its output and status on."""
    before = hooks.lines()
    done = runtime("hooks", "replay", talking, kind)
    assert done.out == f"{kind}\n" and done.err == "to-err\n"
    again = hooks.lines()[len(before) :]
    assert [json.loads(again[0])] == [json.loads(before[ORDER.index(kind)])]


def test_replay_refuses(runtime, hooks, talking):
    """A hook that is not there, or cannot be had again, is an error that says so."""
    for words, text in (
        (("createContainer",), "cannot be had again"),
        (("prestart", "1"), "has no hook prestart[1]"),
        (("prestrat",), "expected one of"),
    ):
        done = runtime("hooks", "replay", talking, *words, check=False)
        assert done.status == 1 and text in done.err, done


def test_replay_tells_the_status(runtime, hooks, only_ocifw):
    """The exit status of a replayed hook is that of the command."""
    hooks.add("poststop", "exit 7")
    container_id, _ = runtime.create(hooks.bundle.write())
    assert runtime("hooks", "replay", container_id, "poststop", check=False).status == 7
