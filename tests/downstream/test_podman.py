"""What only podman does."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from engines import remove_cgroups, wait_until

SLEEP = ("--", "/bin/sleep", "1000")


def sh(script):
    return ("--", "/bin/sh", "-c", script)


def test_hooks(podman, tmp_path):
    """Hooks of --hooks-dir run in their order, with the container's state on their standard input."""
    stages = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
    log = tmp_path / "log"
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\nprintf "%s %s\\n" "$1" "$(cat)" >> {log}\n')
    hook.chmod(0o755)
    folder = tmp_path / "hooks.d"
    folder.mkdir()
    for stage in stages:
        (folder / f"{stage}.json").write_text(
            json.dumps(
                {
                    "version": "1.0.0",
                    "hook": {"path": str(hook), "args": ["hook", stage]},
                    "when": {"always": True},
                    "stages": [stage],
                }
            )
        )
    podman("--hooks-dir", folder, "run", "--name", "box", *podman.placed("--", "true"))
    podman("rm", "--force", "box")
    lines = [line.partition(" ") for line in log.read_text().splitlines()]
    assert [stage for stage, _, _ in lines] == stages
    states = [json.loads(text) for _, _, text in lines]
    assert [bool(state.get("pid")) for state in states] == [True, True, True, True, False]
    assert len({state["id"] for state in states}) == 1
    assert all(os.path.isabs(state["bundle"]) for state in states)


def test_failing_hook(podman, tmp_path):
    """A hook that fails keeps the container from running."""
    (tmp_path / "hook.json").write_text(
        json.dumps(
            {
                "version": "1.0.0",
                "hook": {"path": "/bin/false"},
                "when": {"always": True},
                "stages": ["createRuntime"],
            }
        )
    )
    done = podman(
        "--hooks-dir", tmp_path, "run", "--rm", *podman.placed("--", "echo", "ran"), check=False
    )
    assert done.status not in (0, 127) and done.out == ""
    assert "hook" in done.err


def test_pod(podman):
    """Containers of a pod share its namespaces, and the pod stops and starts as one."""
    podman(
        "pod", "create", "--name", "pod", "--infra-image", podman.image,
        "--infra-command", "/bin/sleep 1000", "--share", "ipc,net,uts,pid",
        "--cgroup-parent", f"/{podman.parent}",
    )  # fmt: skip
    for name in ("one", "two"):
        podman("run", "--detach", "--pod", "pod", "--name", name, podman.image, *SLEEP[1:])

    def namespaces(name):
        kinds = "ipc net uts pid mnt".split()
        pid = podman.pid(name)
        return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}

    one, two = namespaces("one"), namespaces("two")
    assert [kind for kind in one if one[kind] != two[kind]] == ["mnt"]
    podman("pod", "pause", "pod")
    assert podman.status("one") == "paused"
    podman("pod", "unpause", "pod")
    assert podman("exec", "two", "echo", "hello").out == "hello\n"
    podman("pod", "stop", "--time", "0", "pod")
    podman("pod", "start", "pod")
    assert podman.status("two") == "running"
    cgroup = podman("pod", "inspect", "--format", "{{.CgroupPath}}", "pod").out.strip()
    podman("pod", "rm", "--force", "--time", "0", "pod")
    # podman leaves the pod's own in the hierarchies that it does not know.
    remove_cgroups(cgroup.strip("/"))


def test_kube(podman, tmp_path):
    """`play kube` makes a pod of two containers of a document."""
    path = tmp_path / "pod.yaml"
    containers = [
        {"name": name, "image": podman.image, "command": ["/bin/sleep", "1000"]}
        for name in ("first", "second")
    ]
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kube"},
        "spec": {"containers": containers},
    }
    path.write_text(json.dumps(document))
    done = podman("play", "kube", "--network", "none", path, check=False)
    if "podman-pause" in done.err or ("pause" in done.err and "catatonit" in done.err):
        pytest.skip("needs catatonit")
    assert done.status == 0, done
    assert podman.status("kube-first") == "running"
    podman("play", "kube", "--down", path)


def test_user_namespace(podman):
    """Ids are mapped as the options say, and files of the image belong to root in there."""
    done = podman.run(
        "--uidmap", "0:100000:5000", "--gidmap", "0:200000:5000",
        *sh("id -u; stat -c %u /bin/busybox; cat /proc/self/uid_map /proc/self/gid_map"),
    )  # fmt: skip
    assert done.out.split() == "0 0 0 100000 5000 0 200000 5000".split()


def test_build(podman, tmp_path):
    """RUN of a build runs in the runtime, and its failure is the build's."""
    (tmp_path / "Containerfile").write_text(
        f"FROM {podman.image}\nRUN echo built > /file && id -u >> /file\nUSER 1000\nRUN id -u > /tmp/user\n"
    )
    runtime = ("--runtime", podman.runtime)
    build = ("build", "--isolation", "oci", "--network", "none", "--tag", "made")
    limits = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512")
    podman(*runtime, *build, *limits, tmp_path)
    done = podman("run", "--rm", *podman.run_options, "made", "cat", "/file", "/tmp/user")
    assert done.out == "built\n0\n1000\n"
    (tmp_path / "Containerfile").write_text(f"FROM {podman.image}\nRUN exit 9\n")
    done = podman(*runtime, *build, *limits, tmp_path, check=False)
    assert done.status == 9 or "exit status 9" in done.err, done
    podman("rmi", "--force", "made")


def test_preserved_file_descriptors(podman, tmp_path):
    """Descriptors that podman is told to pass on arrive, and no others."""
    script = "for fd in /proc/self/fd/*; do echo ${fd##*/}; done"
    # The last one is the shell's, for the folder.
    assert podman.run(*sh(script)).out.split()[:3] == ["0", "1", "2"]
    (tmp_path / "file").write_text("passed\n")
    for count, expected in ((1, "passed\n"), (0, "")):
        options = ["--preserve-fds", str(count)] if count else []
        command = podman.command("run", "--rm", *podman.placed(*options, *sh("cat <&3")))
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" 3< "$0"', tmp_path / "file", *command],
            env=podman.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout == expected, done


def test_no_cgroup_of_its_own(podman):
    """Without cgroups of its own a container stays in that of conmon."""
    if podman.runtime_name not in ("ocifw", "crun"):
        pytest.skip("podman does not ask runc for it")
    conf = podman.conf.read_text()
    supports = f'runtime_supports_nocgroup = ["{podman.runtime_name}"]'
    podman.conf.write_text(conf.replace("[engine]", f"[engine]\n{supports}"))
    try:
        podman(
            "run", "--detach", "--name", "box", "--cgroups", "disabled", podman.image, *SLEEP[1:]
        )
        with open(f"/proc/{podman.pid()}/cgroup") as box, open("/proc/self/cgroup") as ours:
            assert box.read() == ours.read()
        podman.remove()
    finally:
        podman.conf.write_text(conf)


def test_errors_without_json(podman):
    """A runtime that podman knows by its path only writes errors to standard error: they are recognized too."""
    done = podman(
        "--runtime", podman.runtime, "run", "--rm", *podman.placed("--", "nosuch"), check=False
    )
    assert done.status == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in done.err.replace("\\", "")


def test_runtime_flags(podman):
    """Global options that the user adds come first, and the runtime takes them."""
    assert podman("--runtime-flag", "debug", "run", "--rm", *podman.placed("--", "echo", "x")).out == "x\n"  # fmt: skip


def test_as_runc(podman):
    """Under the name runc, in its place, the runtime is found and used."""
    done = podman("--runtime", "runc", "run", "--rm", *podman.placed("--", "echo", "hello"))
    assert done.out == "hello\n"


def test_checkpoint_that_fails(podman):
    """A checkpoint that podman or the runtime refuses is an error, and the container goes on."""
    podman.start(*SLEEP)
    done = podman("container", "checkpoint", "box", check=False)
    if done.status == 0:
        pytest.skip("this machine can make checkpoints")
    assert done.err
    assert podman.status() == "running"
    assert podman("exec", "box", "echo", "alive").out == "alive\n"


def test_notify(podman):
    """A container that says it is ready is noticed through conmon's socket."""
    podman.start("--sdnotify", "conmon", *SLEEP)
    assert podman.status() == "running"


def test_systemd_mode(podman):
    """What podman mounts for systemd as first process can be mounted."""
    podman.start("--systemd", "always", *SLEEP)
    out = podman("exec", "box", "cat", "/proc/mounts").out
    assert " /run tmpfs" in out and " /sys/fs/cgroup" in out


def test_log_of_a_killed_runtime(podman):
    """After a container's process was killed from outside, podman knows its status."""
    podman.start(*SLEEP)
    os.kill(podman.pid(), 9)
    wait_until(lambda: podman.status() == "exited", "podman does not notice")
    assert podman.inspect("box", "{{.State.ExitCode}}") == "137"
