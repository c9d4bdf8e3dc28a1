"""The hooks: when the filter is loaded, what is checked, what `features` tells."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ocifw.context import Context, Host
from ocifw.steps import LoadFilter
from ocifw_seccomp import plugin
from ocifw_seccomp.compiler import compile_filter
from ocifw_seccomp.notify import ConnectListener

SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
}


class X86Host(Host):
    """A machine of a known kind."""

    machine = "x86_64"


def config(seccomp: dict[str, Any], no_new_privileges: bool | None) -> dict[str, Any]:
    process = {} if no_new_privileges is None else {"noNewPrivileges": no_new_privileges}
    return {"process": process, "linux": {"seccomp": seccomp}}


@pytest.mark.parametrize("no_new_privileges", [None, False, True])
def test_loaded_last_where_it_is_allowed(no_new_privileges: bool | None) -> None:
    """Without noNewPrivileges the filter is loaded while CAP_SYS_ADMIN is there, with it as the last word."""
    asked = config(SECCOMP, no_new_privileges)
    step = LoadFilter(*compile_filter(SECCOMP, "x86_64"))
    finalize = list(plugin.ocifw_finalize(asked, X86Host({})))
    seal = list(plugin.ocifw_seal(asked, X86Host({})))
    assert (finalize, seal) == (([], [step]) if no_new_privileges else ([step], []))
    assert (finalize + seal)[0].at == "linux.seccomp"


def test_both_hooks_come_last_in_their_phase() -> None:
    """What other plugins do in the same phase is not filtered."""
    for hook in (plugin.ocifw_finalize, plugin.ocifw_seal):
        assert hook.ocifw_impl["trylast"]


def test_disabled_profile_loads_nothing() -> None:
    """A profile without default action and calls asks for no step."""
    assert list(plugin.ocifw_finalize(config({}, False), X86Host({}))) == []
    assert list(plugin.ocifw_seal(config({}, True), X86Host({}))) == []


def test_validate_tells_problems() -> None:
    """A wrong profile is refused before anything is planned."""
    assert plugin.ocifw_validate(config(SECCOMP, None)) == []
    [problem] = plugin.ocifw_validate(config({"defaultAction": "no"}, None))
    assert problem.path == "linux.seccomp.defaultAction"


def test_features() -> None:
    """The features document tells what profiles may use."""
    seccomp = plugin.ocifw_features()["linux"]["seccomp"]
    assert seccomp["enabled"] is True
    assert {"SCMP_ACT_KILL_PROCESS", "SCMP_ACT_NOTIFY"} <= set(seccomp["actions"])
    assert len(seccomp["operators"]) == 7
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(seccomp["archs"])
    assert "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in seccomp["supportedFlags"]
    assert seccomp["supportedFlags"] == seccomp["knownFlags"]


def test_nothing_heavy_is_imported() -> None:
    """Compiling a filter imports only what its architectures need."""
    script = """if True:
        import sys
        from ocifw import boot
        from ocifw_seccomp.plugin import ocifw_seal
        boot.cache_folder = lambda: ""
        from ocifw.context import Host
        assert not any(name.startswith("ocifw_seccomp.numbers") for name in sys.modules)
        seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG"}]}
        list(ocifw_seal({"process": {"noNewPrivileges": True}, "linux": {"seccomp": seccomp}}, Host({})))
        heavy = {"json", "re", "enum", "typing", "dataclasses", "inspect", "ctypes", "pathlib", "collections",
                 "functools", "contextlib", "struct", "pluggy"} & set(sys.modules)
        assert not heavy, heavy
        loaded = [name for name in sys.modules if name.startswith("ocifw_seccomp.numbers.")]
        assert len(loaded) == 1, loaded
    """
    paths = [path for path in sys.path if path]
    code = f"import sys; sys.path[:0] = {paths!r}\n{script}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=20)


NOTIFYING = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "listenerPath": "/run/agent.sock",
    "listenerMetadata": "m",
    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
}


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_listener_gets_its_fd_before_create_ends(
    no_new_privileges: bool, create_request: Any
) -> None:
    """The runtime connects while the process waits; the filter is loaded in create, by noNewPrivileges early or late."""
    asked = config(NOTIFYING, no_new_privileges)
    assert list(plugin.ocifw_attach(asked, create_request())) == []
    [connect] = plugin.ocifw_create_runtime(asked, create_request())
    assert connect == ConnectListener("/run/agent.sock", "m", 0)
    assert connect.at == "linux.seccomp.listenerPath" and not connect.undoable
    program, flags = compile_filter(NOTIFYING, "x86_64")
    step = LoadFilter(program, flags, "seccomp:listener", "seccomp:state")
    finalize = list(plugin.ocifw_finalize(asked, X86Host({})))
    wrapper = plugin.ocifw_credentials(asked, X86Host({}))
    next(wrapper)
    with pytest.raises(StopIteration) as stop:
        wrapper.send([["others"]])
    credentials = stop.value.value
    assert list(plugin.ocifw_seal(asked, X86Host({}))) == []
    if no_new_privileges:
        assert (finalize, credentials) == ([], [["others"], [step]])
    else:
        assert (finalize, credentials) == ([step], [["others"]])


def test_no_listener_without_notify(create_request: Any) -> None:
    """listenerPath is ignored where nothing is to be decided."""
    seccomp = {**SECCOMP, "listenerPath": "/run/agent.sock"}
    assert list(plugin.ocifw_create_runtime(config(seccomp, True), create_request())) == []
    [step] = plugin.ocifw_seal(config(seccomp, True), X86Host({}))
    assert step.listener == ""


def test_exec_tells_of_a_running_container(exec_request: Any) -> None:
    """The state is that of the container with its own process, the pid that of the process that is added."""
    [step] = plugin.ocifw_attach(config(NOTIFYING, True), exec_request({}))
    context = Context("box", "/bundle", "/state", pid=99, annotations={"a": "b"})
    assert step.state(context) == {
        "ociVersion": "1.3.0",
        "fds": ["seccompFd"],
        "pid": 99,
        "metadata": "m",
        "state": {
            "ociVersion": "1.3.0",
            "id": "box",
            "status": "running",
            "pid": 77,
            "bundle": "/bundle",
            "annotations": {"a": "b"},
        },
    }


def test_flags_that_exclude_a_listener() -> None:
    """TSYNC is left out with a listener, WAIT_KILLABLE_RECV without one: the kernel refuses them there."""
    both = [f"SECCOMP_FILTER_FLAG_{name}" for name in ("TSYNC", "WAIT_KILLABLE_RECV")]
    assert compile_filter({**NOTIFYING, "flags": both}, "x86_64")[1] == 32
    assert compile_filter({**SECCOMP, "flags": both}, "x86_64")[1] == 1
