"""The hooks: when the filter is loaded, what is checked, what `features` tells."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ocifw.context import Host
from ocifw.steps import LoadFilter
from ocifw_seccomp import plugin
from ocifw_seccomp.compiler import compile_filter

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
    assert (
        "SCMP_ACT_KILL_PROCESS" in seccomp["actions"]
        and "SCMP_ACT_NOTIFY" not in seccomp["actions"]
    )
    assert len(seccomp["operators"]) == 7
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"} <= set(seccomp["archs"])
    assert set(seccomp["supportedFlags"]) < set(seccomp["knownFlags"])


def test_nothing_heavy_is_imported() -> None:
    """Compiling a filter imports only what its architectures need."""
    script = """if True:
        import sys
        from ocifw_seccomp.plugin import ocifw_seal
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
