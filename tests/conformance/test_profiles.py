"""Profiles from the command line: what containers, exec and update get, and that nothing is read again after create."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest

FOREVER = "exec sleep 1000"

DOCKER = [
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip


@pytest.fixture
def profile(tmp_path):
    """Write a profile; returns its path."""

    def write(text, name="site"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        path.chmod(0o644)
        return path

    return write


def use(bundle, capabilities):
    bundle.process["capabilities"] = {
        kind: list(capabilities) for kind in ("bounding", "effective", "permitted")
    }
    return bundle


def plan(runtime, bundle, *options):
    return json.loads(runtime(*options, "plan", "--json", "--bundle", bundle.path).out)


def test_where_options_may_stand(runtime, bundle, profile):
    """--profile and --set are global options, and options of run; the verb's come after the global ones."""
    one = profile("config: {hostname: one}", "one")
    two = profile("config: {hostname: two}", "two")
    bundle.sh("hostname")
    assert runtime("--profile", one, "run", "-b", bundle.path, runtime.id()).out == "one\n"
    assert runtime.run(bundle, "--profile", two).out == "two\n"
    assert (
        runtime("--profile", one, "run", "-b", bundle.path, "--profile", two, runtime.id()).out
        == "two\n"
    )
    assert runtime.run(bundle, "--profile", two, "--set", "hostname=three").out == "three\n"


def test_plan_with_the_default_profile(runtime, bundle):
    """With the profile default, the plan is byte for byte the plan without a profile."""
    bundle.write()
    assert plan(runtime, bundle, "--profile", "default") == plan(runtime, bundle)


def test_own_profile(runtime, bundle, profile):
    """OCIFW_PROFILE counts for the caller's own use, and not under an engine, which logs as JSON or to a file."""
    path = profile("config: {hostname: mine}")
    bundle.sh("hostname")
    through = ["env", f"OCIFW_PROFILE={path}"]
    assert runtime.run(bundle, through=through).out == "mine\n"
    for engine in (["--log", profile("", "log")], ["--log-format", "json"]):
        arguments = [*engine, "run", "-b", bundle.path, runtime.id()]
        assert runtime(*arguments, through=through).out == "box\n"


def test_the_programs_name(runtime, bundle, tmp_path):
    """Called as ocifw-NAME, ocifw uses the profile NAME; an unknown one is an error."""
    bundle.sh("grep Seccomp: /proc/self/status")
    for name, expected in (("hardened", "2"), ("default", "0")):
        program = tmp_path / f"ocifw-{name}"
        program.symlink_to(runtime.path)
        again = copy.copy(runtime)
        again.path = str(program)
        assert again.run(bundle).out == f"Seccomp:\t{expected}\n"
    program = tmp_path / "ocifw-hardend"
    program.symlink_to(runtime.path)
    again.path = str(program)
    done = again.run(bundle, check=False)
    assert "there is no profile 'hardend'" in done.err and "did you mean hardened?" in done.err


def test_mistakes_come_before_anything_is_made(runtime, bundle, profile):
    """A wrong profile is told with its place, and no container is there."""
    path = profile("config:\n  hostnam: x\n")
    bundle.write()
    container_id = runtime.id()
    done = runtime("--profile", path, "create", "-b", bundle.path, container_id, check=False)
    assert done.status == 1
    assert f"{path}:2:3: config.hostnam: is not known: did you mean hostname?" in done.err
    assert "does not exist" in runtime("state", container_id, check=False).err


def test_policy_at_create(runtime, bundle, profile):
    """What breaks a rule is not made; the error names the rule, its place, the reason and what was found."""
    path = profile("policy:\n  - deny: process.user.uid is 0\n    reason: nobody is root here\n")
    bundle.write()
    container_id = runtime.id()
    done = runtime("--profile", path, "create", "-b", bundle.path, container_id, check=False)
    assert done.status == 1
    assert (
        f"policy: {path}:2:5: deny process.user.uid is 0: nobody is root here (process.user.uid is 0)"
        in done.err
    )
    assert "does not exist" in runtime("state", container_id, check=False).err


def test_policy_at_restore(runtime, bundle, profile, tmp_path):
    """What breaks a rule is not restored, whatever the images hold: nothing of them is looked at."""
    path = profile("policy:\n  - {deny: process.user.uid is 0, reason: nobody is root here}\n")
    bundle.write()
    container_id = runtime.id()
    arguments = ["restore", "-b", bundle.path, "--image-path", tmp_path / "none", container_id]
    for words in (
        ["--profile", path, *arguments],
        [*arguments[:1], "--profile", path, *arguments[1:]],
    ):
        done = runtime(*words, check=False)
        assert done.status == 1
        assert f"policy: {path}:2:5: deny process.user.uid is 0: nobody is root here" in done.err
    assert "does not exist" in runtime("state", container_id, check=False).err


def test_nothing_is_read_again(runtime, bundle, profile):
    """After create, neither the profile nor config.json is needed or looked at: exec, update and delete go by the state."""
    path = profile(
        "config:\n  process:\n    noNewPrivileges: true\n    capabilities: {keep: [CAP_KILL]}\n"
        "policy:\n  - {deny: exec.user.uid is 1, reason: one is taken}\n"
        "  - {limit: {linux.resources.pids.limit: 100}, reason: small}\n"
    )
    bundle.linux["resources"]["pids"] = {"limit": 50}
    container = runtime.running(use(bundle, DOCKER).sh(FOREVER), "--profile", path)
    path.write_text("config: [")
    (bundle.path / "config.json").unlink()

    status = runtime("exec", container, "cat", "/proc/self/status").out
    assert "CapBnd:\t0000000000000020" in status and "NoNewPrivs:\t1" in status
    done = runtime("exec", "--user", "1", container, "true", check=False)
    assert done.status == 255
    assert "deny exec.user.uid is 1: one is taken" in done.err

    done = runtime("update", "--pids-limit", "101", container, check=False)
    assert done.status == 1 and "limit linux.resources.pids.limit: 100: small" in done.err
    runtime("update", "--pids-limit", "99", container)
    done = runtime("update", "--pids-limit", "-1", container, check=False)
    assert done.status == 1 and "linux.resources.pids.limit is -1" in done.err
    runtime("delete", "--force", container)


def test_an_engines_exec(runtime, bundle, profile, tmp_path):
    """A whole process, as an engine gives it, gets what the profile says of every process; --cap beyond it is refused."""
    container = runtime.running(use(bundle, DOCKER).sh(FOREVER), "--profile", "hardened")
    process = tmp_path / "process.json"
    process.write_text(
        json.dumps(
            {**bundle.process, "args": ["cat", "/proc/self/status"], "noNewPrivileges": False}
        )
    )
    status = runtime("exec", "--process", process, container).out
    assert (
        "NoNewPrivs:\t1" in status
        and "CapBnd:\t00000000000004fb" in status
        and "Seccomp:\t2" in status
    )
    done = runtime("exec", "--cap", "CAP_SYS_ADMIN", container, "true", check=False)
    assert done.status == 255 and "exec.capabilities has CAP_SYS_ADMIN" in done.err
    done = runtime("exec", "--no-new-privs=false", container, "true", check=False)
    assert done.status == 255 and "programs of the image must not give privileges" in done.err


def test_a_plugin_that_is_switched_off(runtime, bundle, profile):
    """Its fields have no owner then, and the error says what switched it off."""
    path = profile("plugins:\n  cgroups: false\n")
    bundle.write()
    done = runtime("--profile", path, "create", "-b", bundle.path, runtime.id(), check=False)
    assert (
        f"linux.resources: no active plugin handles it: plugin cgroups is switched off by {path}:2:3"
        in done.err
    )
    again = profile(
        "extends: ./site.yaml\nconfig: {linux: {resources: null, cgroupsPath: null}}\n", "again"
    )
    container = runtime.running(bundle.sh(FOREVER), "--profile", again)
    assert runtime("exec", container, "echo", "fine").out == "fine\n"
    runtime("delete", "--force", container)


def test_a_bundle_cannot_loosen(runtime, bundle):
    """A profile of the bundle is taken when it tightens, and refused when it does anything else."""
    path = bundle.path / "ocifw.yaml"
    path.write_text("config: {linux: {maskedPaths+: [/proc/version]}}\n")
    bundle.sh("cat /proc/version; echo end")
    assert runtime.run(bundle, "--profile", path).out == "end\n"
    path.write_text("config: {process: {capabilities: {add: [CAP_SYS_ADMIN]}}}\n")
    done = runtime.run(bundle, "--profile", path, check=False)
    assert "config.process.capabilities.add: is not allowed in a profile of the bundle" in done.err


# ---- hardened ----------------------------------------------------------------------------------------------------

PROBE = r"""
try() { "$@" >/dev/null 2>&1 && echo "allowed: $*"; }
try mount -t tmpfs tmpfs /tmp
try unshare -m true
try unshare -U true
try mknod /dev/sda b 8 0
try chroot / true
try hostname other
try sh -c 'ulimit -c unlimited && test "$(ulimit -c)" != 0'
try dmesg
try sh -c 'echo x > /proc/sys/kernel/core_pattern'
try sh -c 'echo b > /proc/sysrq-trigger'
try nsenter -t 1 -m true
for path in /proc/kcore /proc/keys /proc/kallsyms /proc/timer_list /proc/modules /proc/interrupts; do
    [ -e $path ] && [ -n "$(head -c 1 $path 2>/dev/null | tr '\0' x)" ] && echo "shown: $path"
done
for path in /sys/firmware /sys/module /sys/kernel/security; do
    [ -n "$(ls -A $path 2>/dev/null)" ] && echo "shown: $path"
done
grep -q '^NoNewPrivs:.1' /proc/self/status || echo "new privileges"
grep -q '^Seccomp:.2' /proc/self/status || echo "no filter"
grep '^CapBnd' /proc/self/status
"""


def test_hardened_withstands_a_probe(runtime, bundle):
    """With Docker's capabilities and no filter in config.json, hardened forbids what it says it forbids."""
    use(bundle, [*DOCKER, "CAP_SYS_PTRACE"]).process["noNewPrivileges"] = False
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 1 << 20}]
    bundle.sh(PROBE)
    assert runtime.run(bundle, "--profile", "hardened").out == "CapBnd:\t00000000000004fb\n"
    loose = runtime.run(bundle).out
    assert "allowed: chroot / true" in loose and "no filter" in loose and "new privileges" in loose


@pytest.mark.slow
def test_hardened_limits_processes(runtime, bundle):
    """A fork bomb ends at the limit; without the profile it does not."""
    bundle.sh("i=0; while [ $i -lt 600 ]; do sleep 100 & i=$((i+1)); done; echo made $i")
    done = runtime.run(bundle, "--profile", "hardened", check=False)
    assert "can't fork" in done.err and "made" not in done.out
    assert runtime.run(bundle).out == "made 600\n"


def host_bundle(bundle, tmp_path):
    """Make the bundle one of the host's /usr, as `ocifw bundle --from host` does."""
    rootfs = tmp_path / "debian"
    for name in ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "data"):
        (rootfs / name).mkdir(parents=True)
    rootfs.chmod(0o755)
    for name in ("bin", "lib", "lib64", "sbin"):
        if not Path("/", name).is_symlink():
            pytest.skip("needs a host with a merged /usr")
        (rootfs / name).symlink_to(f"usr/{name}")
    (rootfs / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nservice:x:1000:1000::/data:/bin/sh\n"
    )
    (rootfs / "etc/group").write_text("root:x:0:\nservice:x:1000:\n")
    shutil.copy("/etc/ld.so.cache", rootfs / "etc/ld.so.cache")
    bundle.config["root"] = {"path": str(rootfs), "readonly": True}
    safe = ["nosuid", "nodev"]
    bundle.config["mounts"] += [
        {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]},
        *[{"destination": path, "type": "tmpfs", "source": "tmpfs", "options": [*safe, mode]}
          for path, mode in (("/tmp", "mode=1777"), ("/run", "mode=755"), ("/data", "mode=755"))],
    ]  # fmt: skip
    return use(bundle, DOCKER)


@pytest.mark.slow
def test_hardened_runs_python(runtime, bundle, tmp_path):
    """Python with threads, processes, a server on a port below 1024 and another user, in a Debian root."""
    host_bundle(bundle, tmp_path).sh(
        "exec /usr/bin/python3 -c '\n"
        "import http.server, multiprocessing, os, ssl, threading, urllib.request\n"
        'server = http.server.HTTPServer(("127.0.0.1", 80), http.server.SimpleHTTPRequestHandler)\n'
        "os.setgid(1000); os.setuid(1000)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        'print(urllib.request.urlopen("http://127.0.0.1/etc/passwd").status, os.getuid())\n'
        'print(multiprocessing.get_context("fork").Pool(2).map(abs, [-1, -2]))\''
    )
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs /usr/bin/python3")
    done = runtime.run(bundle, "--profile", "hardened")
    assert done.out == "200 1000\n[1, 2]\n"
