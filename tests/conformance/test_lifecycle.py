"""create, start, state, kill, delete: each in every status, with runc's answers."""

from __future__ import annotations

import json
import os
import re

import pytest

pytestmark = pytest.mark.runc_agrees

FOREVER = "exec sleep 1000"


def test_run_gives_the_programs_status(runtime, bundle):
    """`run` ends with the exit status of the program."""
    assert runtime.run(bundle.sh("exit 7"), check=False).status == 7


def test_run_gives_128_and_the_signal(runtime, bundle):
    """A program that a signal ended gives 128+N."""
    bundle.process["args"] = ["/bin/sh", "-c", "(kill -9 $$)"]
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "pid"]
    assert runtime.run(bundle.write(), check=False).status == 137


def test_output_is_the_programs(runtime, bundle):
    """Standard output and error of the program are the runtime's own."""
    done = runtime.run(bundle.sh("echo out; echo err >&2"))
    assert (done.out, done.err) == ("out\n", "err\n")


def test_run_leaves_nothing(runtime, bundle):
    """After `run` in the foreground there is no container any more."""
    runtime.run(bundle.write())
    assert runtime("list", "-q").out == ""


def test_run_keep_leaves_a_stopped_container(runtime, bundle):
    """`run --keep` leaves the container stopped."""
    runtime.run(bundle.write(), "--keep")
    assert runtime.status(runtime.ids[-1]) == "stopped"


def test_create_start_kill_delete(runtime, bundle):
    """The five operations of the spec, with the status after each."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    assert runtime.status(container_id) == "created"
    runtime("start", container_id)
    assert runtime.status(container_id) == "running"
    runtime("kill", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")
    runtime("delete", container_id)
    assert runtime("state", container_id, check=False).status == 1


def test_state_document(runtime, bundle):
    """The state document has the spec's keys and runc's additions."""
    bundle.config["annotations"] = {"org.example": "yes"}
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    state = runtime.state(container_id)
    assert state["id"] == container_id
    assert state["status"] == "created"
    assert state["bundle"] == str(bundle.path)
    assert state["rootfs"] == bundle.config["root"]["path"]
    assert state["annotations"]["org.example"] == "yes"
    assert os.path.exists(f"/proc/{state['pid']}")
    assert {"ociVersion", "created", "owner"} < set(state)
    assert state["created"].endswith("Z") and "T" in state["created"]
    runtime("kill", container_id, "9")
    runtime.wait_for(container_id, "stopped")
    assert runtime.state(container_id)["pid"] == 0


def test_pid_file(runtime, bundle, tmp_path):
    """The pid file holds the host's pid without a newline when `create` returns."""
    pid_file = tmp_path / "pid"
    container_id, _ = runtime.create(bundle.sh(FOREVER), "--pid-file", pid_file)
    assert pid_file.read_text() == str(runtime.state(container_id)["pid"])


def test_unknown_container(runtime):
    """Operations on an unknown id fail with `does not exist`; only `delete --force` succeeds."""
    for verb in ("start", "state", "kill", "delete", "pause", "resume", "ps"):
        done = runtime(verb, "unknown", check=False)
        assert done.status == 1 and "does not exist" in done.err, (verb, done)
    runtime("delete", "--force", "unknown")


def test_an_id_is_taken(runtime, bundle):
    """A second container of the same id is refused, and the first one stays as it is."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    done = runtime("create", "--bundle", bundle.path, container_id, check=False)
    assert done.status == 1 and "container with given ID already exists" in done.err
    assert runtime.status(container_id) == "created"


@pytest.mark.parametrize("container_id", ["", "a/b", "..", "a b", "ü"])
def test_wrong_ids(runtime, bundle, container_id):
    """An id of other characters is refused, and nothing is left."""
    done = runtime("create", "--bundle", bundle.write().path, container_id, check=False)
    assert done.status == 1
    assert not runtime.root.exists() or os.listdir(runtime.root) == []


def test_start_twice(runtime, bundle):
    """A running container cannot be started."""
    container_id = runtime.running(bundle.sh(FOREVER))
    done = runtime("start", container_id, check=False)
    assert done.status == 1 and "cannot start an already running container" in done.err


def test_start_a_stopped_container(runtime, bundle):
    """A stopped container cannot be started."""
    container_id = runtime.running(bundle.sh("true"))
    runtime.wait_for(container_id, "stopped")
    done = runtime("start", container_id, check=False)
    assert done.status == 1 and "cannot start a container that has stopped" in done.err


def test_kill_a_stopped_container(runtime, bundle):
    """kill on a stopped container says `container not running`; with --all it succeeds."""
    container_id = runtime.running(bundle.sh("true"))
    runtime.wait_for(container_id, "stopped")
    done = runtime("kill", container_id, "TERM", check=False)
    assert done.status == 1 and "container not running" in done.err
    runtime("kill", "--all", container_id, "KILL")


def test_delete_a_running_container(runtime, bundle):
    """A running container is deleted with --force only."""
    container_id = runtime.running(bundle.sh(FOREVER))
    done = runtime("delete", container_id, check=False)
    assert done.status == 1 and "is not stopped: running" in done.err
    assert runtime.status(container_id) == "running"
    runtime("delete", "--force", container_id)
    assert runtime("list", "-q").out == ""


def test_delete_a_created_container(runtime, bundle):
    """A created container is deleted; its process is killed."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    runtime("delete", container_id)
    assert not os.path.exists(f"/proc/{pid}/root/bin")


@pytest.mark.parametrize("signal", ["TERM", "SIGTERM", "term", "15"])
def test_signals_by_name_and_number(runtime, bundle, signal):
    """Signals have names, with SIG and without, in any case, and numbers."""
    container_id = runtime.running(
        bundle.sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    )
    runtime.wait_for_output("ready")
    runtime("kill", container_id, signal)
    runtime.wait_for(container_id, "stopped")


def test_unknown_signal(runtime, bundle):
    """An unknown signal is refused and named."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    done = runtime("kill", container_id, "SIGNOTHING", check=False)
    assert done.status == 1 and "SIGNOTHING" in done.err.upper()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nonexistent"], r"executable file not found in \$PATH"),
        (["/nonexistent"], "no such file or directory"),
        (["/etc/passwd"], "permission denied"),
        # Older runc gives EACCES for a directory.
        (["/etc"], "is a directory|permission denied"),
    ],
)
def test_a_program_that_cannot_be_executed(runtime, bundle, args, words):
    """`create` fails with the text that engines look for; the command's name is in it; nothing is left."""
    bundle.process["args"] = args
    done = runtime("create", "--bundle", bundle.write().path, runtime.id(), check=False)
    assert done.status == 1
    assert re.search(words, done.err) and args[0] in done.err
    assert runtime("list", "-q").out == ""


def test_list(runtime, bundle, make_bundle):
    """list shows every container: as a table, as JSON, or their ids alone."""
    first, _ = runtime.create(bundle.sh(FOREVER))
    second = runtime.running(make_bundle().sh(FOREVER))
    assert runtime("list", "-q").out.split() == sorted([first, second])
    rows = {row["id"]: row for row in json.loads(runtime("list", "--format", "json").out)}
    assert (rows[first]["status"], rows[second]["status"]) == ("created", "running")
    lines = runtime("list").out.splitlines()
    assert lines[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert [line.split()[0] for line in lines[1:]] == sorted([first, second])


def test_list_of_nothing(runtime):
    """Without containers, list prints its heading, and JSON's null as runc does."""
    assert runtime("list").out.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert json.loads(runtime("list", "-f", "json").out) in (None, [])


def test_pause_and_resume(runtime, bundle):
    """A paused container is frozen until it is resumed."""
    container_id = runtime.running(bundle.sh(FOREVER))
    runtime("pause", container_id)
    assert runtime.status(container_id) == "paused"
    done = runtime("exec", container_id, "true", check=False)
    assert done.status != 0 and "cannot exec in a paused container" in done.err
    runtime("resume", container_id)
    assert runtime.status(container_id) == "running"
    assert "container not paused" in runtime("resume", container_id, check=False).err


def test_a_paused_container_dies_of_kill(runtime, bundle):
    """SIGKILL reaches a paused container."""
    container_id = runtime.running(bundle.sh(FOREVER))
    runtime("pause", container_id)
    runtime("kill", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")


def test_ps(runtime, bundle):
    """ps prints the host's pids as JSON, and the table of ps(1) for them."""
    container_id = runtime.running(bundle.sh("sleep 1000 & echo ready; exec sleep 1001"))
    runtime.wait_for_output("ready")
    pids = runtime.pids(container_id)
    assert len(pids) == 2
    assert runtime.state(container_id)["pid"] in pids
    table = runtime("ps", container_id).out.splitlines()
    assert "PID" in table[0] and len(table) == 3
