"""MUSTs of the runtime specification that no other file tests: each test cites its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

FOREVER = "exec sleep 1000"
MACHINE = f"SCMP_ARCH_{os.uname().machine.upper()}"


@pytest.fixture
def refused(runtime):
    """What `create` says of a bundle that it refuses, after which there is no container."""

    def create(bundle, *options):
        done = runtime(
            *options, "create", "--bundle", bundle.write().path, runtime.id(), check=False
        )
        assert done.status == 1 and runtime("list", "-q").out == ""
        return done.err

    return create


@pytest.fixture
def spec(tmp_path):
    """Global options for `compat: spec`."""
    path = tmp_path / "spec.yaml"
    path.write_text("compat: spec\n")
    path.chmod(0o600)
    return ("--profile", str(path))


@pytest.fixture
def holder():
    """Make a process in new namespaces: `holder("--net")` is its pid."""
    processes = []

    def make(*options):
        command = ["unshare", *options, "sh", "-c", "echo; exec sleep 1000"]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        processes[-1].stdout.readline()
        return processes[-1].pid

    yield make
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def join(bundle, kind, path):
    """Let the container join a namespace by path."""
    namespaces = [entry for entry in bundle.linux["namespaces"] if entry["type"] != kind]
    bundle.linux["namespaces"] = [*namespaces, {"type": kind, "path": str(path)}]


# ---- config.md -----------------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_mounts_are_in_order(runtime, bundle):
    """Mounts: "The runtime MUST mount entries in the listed order"."""
    for size in ("1m", "2m"):
        bundle.config["mounts"].append(
            {"destination": "/tmp", "type": "tmpfs", "source": "t", "options": [f"size={size}"]}
        )
    assert "size=2048k" in runtime.run(bundle.sh("grep ' /tmp ' /proc/mounts | tail -1")).out


@pytest.mark.runc_agrees
def test_a_bind_is_one_by_its_options(runtime, bundle, tmp_path):
    """Mounts: bind mounts are those with option bind or rbind; "type … is a dummy"."""
    (tmp_path / "file").write_text("bound\n")
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "none", "source": str(tmp_path), "options": ["rbind", "ro"]}
    )
    assert runtime.run(bundle.sh("cat /tmp/file")).out == "bound\n"


@pytest.mark.runc_agrees
def test_a_relative_source_is_in_the_bundle(runtime, bundle):
    """Mounts: the source of a bind mount is "an absolute path or relative to the bundle"."""
    (bundle.path / "data").mkdir()
    (bundle.path / "data/file").write_text("bound\n")
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "bind", "source": "data", "options": ["bind"]}
    )
    assert runtime.run(bundle.sh("cat /tmp/file"), cwd="/").out == "bound\n"


@pytest.mark.runc_agrees
def test_unknown_capabilities(runtime, bundle):
    """Capabilities: one that cannot be mapped "MUST be logged as a warning … SHOULD NOT fail"."""
    for kind in ("bounding", "effective", "permitted"):
        bundle.process["capabilities"][kind] = ["CAP_KILL", "CAP_UNHEARD_OF"]
    done = runtime.run(bundle.sh("grep CapBnd /proc/self/status"))
    assert done.out.split()[1] == f"{1 << 5:016x}" and "CAP_UNHEARD_OF" in done.err


@pytest.mark.runc_agrees
def test_unknown_properties(runtime, bundle):
    """Extensibility: "MUST NOT generate an error if they encounter an unknown property"."""
    bundle.config["unknown"] = {"a": [1]}
    bundle.process["unknown"] = True
    bundle.linux["unknown"] = "x"
    assert runtime.run(bundle.sh("echo yes")).out == "yes\n"


def test_process_may_be_unset_at_create(runtime, bundle, spec):
    """process: "REQUIRED when start is called"; runtime.md, Start: without it an error, and no effect."""
    del bundle.config["process"]
    container_id = runtime.id()
    runtime(*spec, "create", "--bundle", bundle.write().path, container_id)
    assert runtime.status(container_id) == "created"
    done = runtime("start", container_id, check=False)
    assert done.status == 1 and "has no process" in done.err
    assert runtime.status(container_id) == "created"


@pytest.mark.runc_agrees
def test_runc_wants_a_process_at_create(bundle, refused):
    """By default, as in runc, `create` needs one, too."""
    del bundle.config["process"]
    assert "process property must not be empty" in refused(bundle)


def test_duplicate_rlimits(bundle, refused):
    """rlimits: "If rlimits contains duplicated entries with same type, the runtime MUST generate an error"."""
    bundle.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}] * 2
    assert "process.rlimits[1].type" in refused(bundle)


def test_hostname_needs_a_namespace(bundle, refused):
    """hostname: it is the container's only in a UTS namespace of its own."""
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "uts"]
    assert "hostname" in refused(bundle)


# ---- config-linux.md -----------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_a_namespace_of_another_type(bundle, refused):
    """Namespaces: "The runtime MUST generate an error if path is not associated with a namespace of type type"."""
    join(bundle, "network", "/proc/self/ns/uts")
    assert "nvalid argument" in refused(bundle)


@pytest.mark.runc_agrees
def test_duplicate_namespaces(bundle, refused):
    """Namespaces: "If a namespaces field contains duplicated namespaces with same type, … MUST generate an error"."""
    bundle.linux["namespaces"].append({"type": "uts"})
    assert "uts" in refused(bundle)


@pytest.mark.runc_agrees
def test_sysctl_of_the_hosts_network(bundle, refused):
    """sysctl: a network namespace that is joined and is the runtime's own is the host's."""
    join(bundle, "network", "/proc/self/ns/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    assert "net.ipv4.ip_forward" in refused(bundle)


@pytest.mark.runc_agrees
def test_sysctl_of_a_joined_network(runtime, bundle, holder):
    """sysctl: one of a network namespace that is joined is set there."""
    pid = holder("--net")
    join(bundle, "network", f"/proc/{pid}/ns/net")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    assert runtime.run(bundle.sh("cat /proc/sys/net/ipv4/ip_forward")).out == "1\n"


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [("ipc", "ipc", "kernel.shmmni"), ("uts", "uts", "kernel.domainname")],
)
def test_sysctl_of_the_hosts_other_namespaces(bundle, refused, kind, name, key):
    """sysctl: what belongs to a namespace that is the host's, though it is named by path, is refused."""
    join(bundle, kind, f"/proc/self/ns/{name}")
    del bundle.config["hostname"]
    bundle.linux["sysctl"] = {key: "1"}
    assert key in refused(bundle)


MAPPING = [
    {"containerID": 0, "hostID": 0, "size": 1000},
    {"containerID": 1000, "hostID": 1000, "size": 64536},
]


def mapped(holder):
    """The user namespace of a new process, in which all ids up to 65535 are those outside."""
    pid = holder("--user")
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text("0 0 65536")
    return f"/proc/{pid}/ns/user"


def test_a_user_namespace_by_path_with_its_mappings(runtime, bundle, holder):
    """User namespaces: mappings beside a path are in vain; engines send both, so the same ones are only a warning."""
    join(bundle, "user", mapped(holder))
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = MAPPING
    done = runtime.run(bundle.sh("cat /proc/self/uid_map"))
    assert done.out.split() == ["0", "0", "65536"] and "matching mappings" in done.err


def test_a_user_namespace_by_path_with_other_mappings(bundle, refused, holder):
    """User namespaces: others than the namespace has are an error."""
    join(bundle, "user", mapped(holder))
    bundle.linux["uidMappings"] = MAPPING
    bundle.linux["gidMappings"] = MAPPING[:1]
    assert "both namespace path and non-matching mapping specified" in refused(bundle)


def test_a_device_that_is_something_else(make_bundle, refused):
    """Devices: "If a file already exists at path that does not match the requested device, … MUST generate an error"."""
    bundle = make_bundle(rootfs=True)
    bundle.linux["devices"] = [{"path": "/etc/passwd", "type": "c", "major": 1, "minor": 3}]
    assert "/etc/passwd" in refused(bundle)


@pytest.mark.parametrize("field", ["defaultErrnoRet", "errnoRet"])
def test_an_errno_without_an_action_that_takes_it(bundle, refused, field):
    """Seccomp: errnoRet "MUST" fail with actions that do not support it."""
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [MACHINE]}
    if field == "errnoRet":
        seccomp["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]
    else:
        seccomp[field] = 1
    bundle.linux["seccomp"] = seccomp
    assert field in refused(bundle)


@pytest.mark.runc_agrees
def test_calls_that_nobody_knows(runtime, bundle):
    """Seccomp: names of system calls that the runtime does not know are ignored."""
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [MACHINE],
        "syscalls": [{"names": ["unheard_of"], "action": "SCMP_ACT_ERRNO"}],
    }
    assert runtime.run(bundle.sh("echo yes")).out == "yes\n"


def test_an_id_map_without_mappings(bundle, refused):
    """Mounts: idmap "MUST" be an error where neither the mount nor a user namespace has mappings."""
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "bind", "source": "/etc", "options": ["bind", "idmap"]}
    )
    refused(bundle)


def test_a_mount_through_a_link_into_proc(make_bundle, refused):
    """Mounts (CVE-2019-19921): an image's link does not make a way to mount in /proc."""
    bundle = make_bundle(rootfs=True)
    Path(bundle.config["root"]["path"], "link").symlink_to("/proc/sys")
    bundle.config["mounts"].append({"destination": "/link", "type": "tmpfs", "source": "tmpfs"})
    assert "proc" in refused(bundle)


@pytest.mark.parametrize("rdt", [{}, {"closID": "gold"}, {"enableMonitoring": True}])
def test_rdt_that_is_not_there(bundle, refused, rdt):
    """IntelRdt: what the machine cannot do is an error."""
    if "resctrl" in Path("/proc/mounts").read_text():
        pytest.skip("needs a machine without resctrl")
    bundle.linux["intelRdt"] = rdt
    assert "resctrl is not mounted" in refused(bundle)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b: b.process.update(apparmorProfile="p"), "unable to apply apparmor profile"),
        (lambda b: b.process.update(selinuxLabel="a:b:c:s0"), "selinux label is specified"),
        (lambda b: b.linux.update(mountLabel="a:b:c:s0"), "selinux label is specified"),
    ],
)
def test_labels_that_nobody_enforces(bundle, refused, change, text):
    """Process, Mount Label: a profile or label that would not be enforced is an error."""
    if os.path.exists("/sys/fs/selinux/status") or os.path.exists("/sys/module/apparmor"):
        pytest.skip("needs a machine without AppArmor and SELinux")
    change(bundle)
    assert text in refused(bundle)


# ---- runtime.md ----------------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_config_that_changes_after_create(runtime, bundle):
    """Lifecycle 2: "Any updates to config.json after this step MUST NOT affect the container"."""
    container_id, created = runtime.create(bundle.sh("echo first"))
    bundle.sh("echo second")
    runtime("start", container_id)
    runtime.wait_for(container_id, "stopped")
    assert created.out_path.read_text() == "first\n"


@pytest.mark.runc_agrees
@pytest.mark.parametrize("words", [("start",), ("kill",), ("state",), ("delete",)])
def test_unknown_ids(runtime, words):
    """Operations: an unknown id "MUST generate an error"."""
    done = runtime(*words, "unheard-of", check=False)
    assert done.status == 1 and "does not exist" in done.err


@pytest.mark.runc_agrees
def test_start_twice(runtime, bundle):
    """Start: on a container that is not created, "MUST have no effect on the container and MUST generate an error"."""
    container_id = runtime.running(bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    assert runtime("start", container_id, check=False).status == 1
    assert runtime.state(container_id)["pid"] == pid and runtime.status(container_id) == "running"


@pytest.mark.runc_agrees
def test_kill_of_a_stopped_container(runtime, bundle):
    """Kill: on a container that is neither created nor running it "MUST generate an error"."""
    container_id = runtime.running(bundle.sh("true"))
    runtime.wait_for(container_id, "stopped")
    assert runtime("kill", container_id, "KILL", check=False).status == 1


@pytest.mark.runc_agrees
def test_delete_of_a_running_container(runtime, bundle):
    """Delete: on a container that is not stopped, "MUST have no effect on the container and MUST generate an error"."""
    container_id = runtime.running(bundle.sh(FOREVER))
    assert runtime("delete", container_id, check=False).status == 1
    assert runtime.status(container_id) == "running"


# ---- the official schemas, where they are --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def state_schema():
    """The validator of the specification's state documents."""
    folder = os.environ.get("OCIFW_RUNTIME_SPEC")
    if not folder:
        pytest.skip("needs the runtime-spec's folder in OCIFW_RUNTIME_SPEC")
    import jsonschema
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    contents = {p.name: json.loads(p.read_text()) for p in Path(folder, "schema").glob("*.json")}
    registry = Registry().with_resources(
        [(name, Resource(contents=c, specification=DRAFT4)) for name, c in contents.items()]
    )
    return jsonschema.Draft4Validator(contents["state-schema.json"], registry=registry)


def test_state_documents_are_the_specs(runtime, bundle, state_schema, tmp_path):
    """State: what `state` prints in every status, and what hooks read, fits the specification's schema."""
    hook = {
        "path": "/bin/sh",
        "args": ["sh", "-c", f"cat >>{tmp_path}/states; echo >>{tmp_path}/states"],
        "env": ["PATH=/bin:/usr/bin"],
    }
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    bundle.config["hooks"] = {kind: [hook] for kind in kinds}
    bundle.config["annotations"] = {"org.example": "ü"}
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    documents = [runtime.state(container_id)]
    runtime("start", container_id)
    documents.append(runtime.state(container_id))
    runtime("kill", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")
    documents.append(runtime.state(container_id))
    runtime("delete", container_id)
    documents += map(json.loads, (tmp_path / "states").read_text().splitlines())
    statuses = [document["status"] for document in documents]
    assert statuses == [
        "created",
        "running",
        "stopped",
        "creating",
        "creating",
        "running",
        "stopped",
    ]
    for document in documents:
        assert list(state_schema.iter_errors(document)) == [], document
        assert document["annotations"] == {"org.example": "ü"}
