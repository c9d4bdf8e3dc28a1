"""The plans of ocifw-hooks, compared as values."""

from __future__ import annotations

import json

import pytest

from ocifw.errors import StepFailed
from ocifw.step import from_document
from ocifw.steps import RunProgram
from ocifw_hooks import entries, plugin
from ocifw_hooks.run import RunHook


def config(**hooks):
    return {
        "ociVersion": "1.2.0",
        "process": {"env": ["A=1"]},
        "annotations": {'k"pid":': "v"},
        "hooks": hooks,
    }


def test_prestart_comes_before_create_runtime():
    """Hooks run in order, prestart's before createRuntime's; without env they get none, without args their path."""
    own = config(
        createRuntime=[{"path": "/c"}],
        prestart=[
            {"path": "/a", "args": ["a", "x"], "env": ["K=V"], "timeout": 3},
            {"path": "/b"},
        ],
    )
    steps = list(plugin.ocifw_create_runtime(own))
    assert steps == [
        RunHook("/a", ("a", "x"), ("K=V",), 3, "creating", "prestart", 0),
        RunHook("/b", ("/b",), (), 0, "creating", "prestart", 1),
        RunHook("/c", ("/c",), (), 0, "creating", "createRuntime", 0),
    ]
    assert [step.at for step in steps] == [
        "hooks.prestart[0]",
        "hooks.prestart[1]",
        "hooks.createRuntime[0]",
    ]


def test_hooks_of_start_and_delete():
    """poststart sees a running container, poststop a stopped one."""
    own = config(poststart=[{"path": "/a"}], poststop=[{"path": "/b"}])
    assert list(plugin.ocifw_poststart(own)) == [
        RunHook("/a", ("/a",), (), 0, "running", "poststart", 0)
    ]
    assert list(plugin.ocifw_poststop(own)) == [
        RunHook("/b", ("/b",), (), 0, "stopped", "poststop", 0)
    ]


@pytest.mark.parametrize("status", ["creating", "created"])
def test_the_state_is_split_at_the_pid(create_request, status):
    """A pid between both halves makes the state document of the specification."""
    before, after = entries.split_state(config(), create_request(), status)
    assert json.loads(before + b"4711" + after) == {
        "ociVersion": "1.3.0",
        "id": "box",
        "status": status,
        "pid": 4711,
        "bundle": "/bundle",
        "annotations": {'k"pid":': "v"},
    }


def test_create_container_never_sees_the_images_environment(create_request):
    """createContainer hooks are the host's programs in the container's namespaces: no process.env (CVE-2025-23266)."""
    own = config(createContainer=[{"path": "/a", "args": ["a"], "timeout": 2}])
    before, after = entries.split_state(own, create_request(), "creating")
    assert list(plugin.ocifw_create_container(own, create_request())) == [
        RunProgram("/a", ("a",), (), before, after, 2, in_root=False)
    ]


@pytest.mark.parametrize(
    ("entry", "env"), [({}, ("A=1",)), ({"env": None}, ("A=1",)), ({"env": ["B=2"]}, ("B=2",)), ({"env": []}, ())]
)  # fmt: skip
def test_start_container_has_the_processs_environment(create_request, entry, env):
    """startContainer hooks run in the container's root; their default environment is process.env, as in runc."""
    own = config(startContainer=[{"path": "/a", **entry}])
    before, after = entries.split_state(own, create_request(), "created")
    assert list(plugin.ocifw_start_container(own, create_request())) == [
        RunProgram("/a", ("/a",), env, before, after, 0, in_root=True)
    ]


def test_a_hook_survives_the_state():
    """poststart and poststop hooks are written into the state, and are the same when they are read from it."""
    step = RunHook("/a", ("a",), ("K=V",), 3, "running", "poststart", 1, at="hooks.poststart[1]")
    step.stamp("hooks", "poststart")
    again = from_document(json.loads(json.dumps(step.document())))
    assert json.loads(json.dumps(again.document())) == json.loads(json.dumps(step.document()))


def test_errors_read_as_in_runc():
    """A hook's failure is told in runc's words."""
    step = RunHook("/a", ("a",), (), 1, "creating", "prestart", 2)
    assert str(StepFailed(step, 2, "execve", "/a")) == (
        "error running prestart hook #2: fork/exec /a: no such file or directory"
    )
    assert str(StepFailed(step, 0, "hook", "exit status 1, stdout: , stderr: x")) == (
        "error running prestart hook #2: exit status 1, stdout: , stderr: x"
    )


def test_features_name_all_kinds():
    """All six kinds of the specification are run."""
    assert plugin.ocifw_features() == {"hooks": list(entries.KINDS)}
    assert len(entries.KINDS) == 6
