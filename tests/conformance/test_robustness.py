"""Odd callers: closed streams, long paths, several at once, and a runtime that is killed in the middle."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

FOREVER = "exec sleep 1000"

runc_agrees = pytest.mark.runc_agrees


def test_closed_streams(runtime, make_bundle):
    """A caller without standard streams does not hand anything else to the container in their place."""
    bundle = make_bundle(rootfs=True)
    bundle.config["root"]["readonly"] = False
    bundle.sh("ls -l /proc/self/fd >/out; exec sleep 1000")
    runtime.create(bundle, through=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    runtime("start", runtime.ids[-1], through=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    out = Path(bundle.config["root"]["path"], "out")
    deadline = time.monotonic() + 10
    while not (out.exists() and " 2 -> " in out.read_text()):
        assert time.monotonic() < deadline, out.exists() and out.read_text()
        time.sleep(0.005)
    links = dict(re.findall(r" (\d+) -> (.*)", out.read_text()))
    assert links["0"] == links["2"] == "/dev/null"


@runc_agrees
def test_a_stopped_reader(runtime, bundle):
    """Output that nobody reads any more does not keep the runtime from its end."""
    read, write = os.pipe()
    command = runtime.command(
        "run", "--bundle", bundle.sh("seq 1 100000; exit 5").path, runtime.id()
    )
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.DEVNULL)
    os.close(write)
    os.close(read)
    assert process.wait(10) != 0
    assert runtime("list", "-q").out == ""


def test_long_paths(runtime, bundle, tmp_path):
    """State root and sockets may have paths longer than a socket's address."""
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    runtime.root = deep / "root"
    path = deep / "console.sock"
    folder = os.open(deep, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"/proc/self/fd/{folder}/console.sock")
        server.listen()
        os.close(folder)
        bundle.process["terminal"] = True
        container_id, _ = runtime.create(bundle.sh(FOREVER), "--console-socket", path)
        runtime("start", container_id)
        assert runtime.status(container_id) == "running"


def test_one_id_at_once(runtime, make_bundle):
    """Of several that create the same id at the same time, one succeeds, and the others leave it alone."""
    container_id = runtime.id()
    bundles = [make_bundle().sh(FOREVER) for _ in range(4)]
    started = [
        subprocess.Popen(
            runtime.command("create", "--bundle", bundle.path, container_id),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for bundle in bundles
    ]
    assert sorted(process.wait(20) for process in started) == [0, 1, 1, 1]
    assert runtime.status(container_id) == "created"


def test_started_at_once(runtime, bundle):
    """Of several that start a container at the same time, one succeeds."""
    container_id, created = runtime.create(bundle.sh("echo ran; exec sleep 1000"))
    command = runtime.command("start", container_id)
    started = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert sorted(process.wait(20) for process in started) == [0, 1, 1, 1]
    runtime.created = created
    runtime.wait_for_output("ran")
    assert created.out_path.read_text() == "ran\n"


def test_deleted_at_once(runtime, bundle):
    """Of several that delete a container at the same time, none leaves anything, and at least one succeeds."""
    container_id = runtime.running(bundle.sh(FOREVER))
    command = runtime.command("delete", "--force", container_id)
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err


def test_exec_at_once(runtime, bundle):
    """Many processes can be run in a container at the same time."""
    container_id = runtime.running(bundle.sh(FOREVER))
    command = runtime.command("exec", container_id, "echo", "here")
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert [process.communicate(timeout=20)[0] for process in started] == ["here\n"] * 8


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_a_killed_create(runtime, bundle, tmp_path, kind):
    """What a killed `create` left behind is `creating` or gone, and `delete --force` takes all of it back."""
    ready = tmp_path / "ready"
    script = f"touch {ready}; exec sleep 1000"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}
    bundle.config["hooks"] = {kind: [hook]}
    container_id = runtime.id()
    command = runtime.command("create", "--bundle", bundle.write().path, container_id)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert runtime.state(container_id)["status"] in ("creating", "stopped")
    assert json.loads(runtime("list", "-f", "json").out)[0]["id"] == container_id
    runtime("delete", "--force", container_id)
    assert runtime("list", "-q").out == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_create(runtime, bundle, tmp_path, number):
    """A `create` that gets a signal either finishes or leaves what `delete --force` takes back."""
    ready = tmp_path / "ready"
    script = f"touch {ready}; exec sleep 1000"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    container_id = runtime.id()
    command = runtime.command("create", "--bundle", bundle.write().path, container_id)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    assert process.wait(10) != 0
    runtime("delete", "--force", container_id)


def test_a_killed_exec(runtime, bundle):
    """An exec that is killed leaves the container as it is."""
    container_id = runtime.running(bundle.sh(FOREVER))
    command = runtime.command("exec", container_id, "sh", "-c", "echo ready; exec sleep 1000")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert runtime.status(container_id) == "running"
    assert runtime("exec", container_id, "echo", "works").out == "works\n"


def test_the_bundle_may_go(runtime, make_bundle):
    """After `create` the bundle's config.json is not needed any more."""
    bundle = make_bundle()
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    (bundle.path / "config.json").unlink()
    runtime("start", container_id)
    assert runtime("exec", container_id, "echo", "works").out == "works\n"
    runtime("kill", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")
    runtime("delete", container_id)


def test_few_file_descriptors(runtime, bundle):
    """A caller with a low limit of file descriptors gets a container, or one clear error."""
    done = runtime.run(bundle.sh("echo ran"), through=["prlimit", "--nofile=24:24"], check=False)
    assert done.out == "ran\n" or (done.status == 1 and len(done.err.splitlines()) == 1), done


def test_many_preserved_fds(runtime, bundle):
    """A number of file descriptors that is none is refused."""
    for count in ("-1", "x", "99999999999"):
        done = runtime.run(bundle.sh("true"), "--preserve-fds", count, check=False)
        assert done.status == 1, count


def test_list_while_containers_come_and_go(runtime, make_bundle):
    """list never fails because of a container that is being created or deleted."""
    bundle = make_bundle().sh("true")
    stop = threading.Event()
    failures = []

    def watch():
        while not stop.is_set():
            done = subprocess.run(
                runtime.command("list", "-f", "json"), capture_output=True, text=True, check=False
            )
            if done.returncode or done.stderr:
                failures.append(done)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(5):
            runtime.run(bundle)
    finally:
        stop.set()
        watcher.join()
    assert failures == []
