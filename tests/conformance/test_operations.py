"""Everything else that the command line does: limits, figures, lists, documents, logs, help."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

FOREVER = "exec sleep 1000"

runc_agrees = pytest.mark.runc_agrees
needs_v1 = pytest.mark.skipif(
    not os.path.exists("/sys/fs/cgroup/memory/tasks"), reason="needs cgroup v1"
)


@pytest.fixture
def container(runtime, bundle):
    return runtime.running(bundle.sh(FOREVER))


@pytest.fixture
def limit(bundle):
    """Read a control file of the container's cgroup."""

    def read(name):
        return (bundle.cgroup(name.split(".")[0]) / name).read_text().strip()

    return read


# ---- update ------------------------------------------------------------------------------------------------------


@needs_v1
@runc_agrees
def test_update_by_options(runtime, container, limit):
    """Each option changes its limit, and what is not given stays."""
    runtime("update", "--memory", "64M", "--memory-reservation", "33554432", container)
    runtime(
        "update", "--cpu-share", "512", "--cpu-quota", "50000", "--cpu-period", "200000", container
    )
    runtime("update", "--pids-limit", "77", container)
    assert limit("memory.limit_in_bytes") == str(64 << 20)
    assert limit("memory.soft_limit_in_bytes") == str(32 << 20)
    assert limit("cpu.shares") == "512"
    assert (limit("cpu.cfs_quota_us"), limit("cpu.cfs_period_us")) == ("50000", "200000")
    assert limit("pids.max") == "77"
    runtime("update", "--cpu-quota", "60000", container)
    assert (limit("cpu.cfs_quota_us"), limit("cpu.cfs_period_us")) == ("60000", "200000")


@needs_v1
@runc_agrees
def test_update_by_a_document(runtime, container, limit, tmp_path):
    """A document from a file or from standard input changes what it names; 0 is not given."""
    path = tmp_path / "resources.json"
    path.write_text(json.dumps({"memory": {"limit": 64 << 20}, "pids": {"limit": 55}}))
    runtime("update", "--resources", path, container)
    document = {"cpu": {"shares": 300, "quota": 0, "period": 0}, "memory": {"limit": 0}}
    runtime("update", "-r", "-", container, stdin=json.dumps(document).encode())
    assert limit("memory.limit_in_bytes") == str(64 << 20)
    assert limit("pids.max") == "55"
    assert limit("cpu.shares") == "300"
    assert limit("cpu.cfs_quota_us") == "-1"


@needs_v1
@runc_agrees
def test_update_takes_a_limit_away(runtime, container, limit):
    """-1 is no limit."""
    runtime("update", "--memory", "64M", "--pids-limit", "5", container)
    runtime("update", "--memory", "-1", "--pids-limit", "-1", container)
    assert int(limit("memory.limit_in_bytes")) > 1 << 60
    assert limit("pids.max") == "max"


@needs_v1
@runc_agrees
def test_update_of_an_engine(runtime, container, limit, repository):
    """The documents of docker and Kubernetes are taken as they are."""
    for name in (
        "docker-20.10-update",
        "docker-20.10-update-restart-policy-only",
        "cri-1.6-update",
    ):
        path = repository / "tests/core/engines" / f"{name}.resources.json"
        runtime("update", "--resources", path, container)


@needs_v1
def test_update_stays_for_the_next(runtime, container, limit):
    """What cannot be written is an error with its file, and leaves the other limits as they were."""
    runtime("update", "--pids-limit", "66", container)
    done = runtime("update", "--pids-limit", "67", "--cpuset-cpus", "4000", container, check=False)
    assert done.status == 1 and "cpuset.cpus" in done.err
    assert limit("pids.max") == "66"


@runc_agrees
def test_update_of_nonsense(runtime, container):
    """A value that is no number is refused."""
    for options in (["--memory", "x"], ["--cpu-share", "many"], ["--pids-limit", "x"]):
        assert runtime("update", *options, container, check=False).status == 1, options


@runc_agrees
def test_update_leaves_devices(runtime, bundle):
    """update never touches device rules: others have added some."""
    container_id = runtime.running(bundle.sh(FOREVER))
    document = {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 50}}
    runtime("update", "-r", "-", container_id, stdin=json.dumps(document).encode())
    assert runtime("exec", container_id, "sh", "-c", ": <>/dev/null && echo works").out == "works\n"


# ---- figures -----------------------------------------------------------------------------------------------------

STATS = {
    "cpu": ["throttling", "usage"],
    "memory": ["kernel", "raw", "swap", "usage"],
    "pids": ["current"],
    "blkio": [],
    "intel_rdt": [],
    "network_interfaces": [],
}


@needs_v1
@runc_agrees
def test_stats(runtime, container):
    """events --stats prints one object with runc's keys and live figures."""
    event = json.loads(runtime("events", "--stats", container).out)
    assert (event["type"], event["id"]) == ("stats", container)
    data = event["data"]
    for name, keys in STATS.items():
        assert name in data
        assert set(keys) <= set(data[name] or ()), name
    assert data["pids"]["current"] == 1
    assert data["memory"]["usage"]["usage"] > 0 and data["memory"]["raw"]["rss"] >= 0
    assert data["cpu"]["usage"]["total"] > 0
    assert isinstance(data["cpu"]["usage"]["percpu"], list)


@runc_agrees
def test_stats_of_a_stopped_container(runtime, bundle):
    """A container that is not running has no figures."""
    container_id = runtime.running(bundle.sh("true"))
    runtime.wait_for(container_id, "stopped")
    assert runtime("events", "--stats", container_id, check=False).status == 1


def test_events_end_with_the_container(runtime, bundle):
    """events prints figures at its interval until the container ends."""
    bundle.sh("until test -e /dev/shm/end; do sleep 0.01; done")
    container_id = runtime.running(bundle)
    command = runtime.command("events", "--interval", "20ms", container_id)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        lines = [events.stdout.readline()]
        runtime("exec", container_id, "touch", "/dev/shm/end")
        lines += events.stdout.readlines()
    assert events.returncode == 0
    assert {json.loads(line)["type"] for line in lines} == {"stats"}


# ---- processes ---------------------------------------------------------------------------------------------------


@runc_agrees
def test_ps_options(runtime, container):
    """What stands after the id goes to ps(1); lines of other processes are left out."""
    lines = runtime("ps", container, "-eo", "pid,args").out.splitlines()
    assert [line.split() for line in lines] == [
        ["PID", "COMMAND"], [str(runtime.state(container)["pid"]), "sleep", "1000"],
    ]  # fmt: skip


@runc_agrees
def test_ps_without_a_pid(runtime, container):
    """A table without pids is refused: its lines cannot be told apart."""
    assert runtime("ps", container, "-eo", "args", check=False).status == 1


@runc_agrees
def test_ps_of_wrong_options(runtime, container):
    """What ps(1) refuses is an error."""
    assert runtime("ps", container, "--nonsense", check=False).status == 1
    assert runtime("ps", "--format", "yaml", container, check=False).status == 1


@runc_agrees
def test_kill_all_in_a_shared_pid_namespace(runtime, bundle):
    """Without a pid namespace of its own, every process of the container dies with SIGKILL, and none of others."""
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "pid"]
    container_id = runtime.running(bundle.sh("(setsid sleep 1001 &); echo ready; exec sleep 1000"))
    runtime.wait_for_output("ready")
    pids = runtime.pids(container_id)
    assert len(pids) == 2
    runtime("kill", "--all", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")
    from_here = [pid for pid in pids if os.path.exists(f"/proc/{pid}/exe")]
    assert from_here == [] or not any(os.path.exists(f"/proc/{pid}/root/bin") for pid in from_here)


@runc_agrees
def test_delete_kills_what_is_left(runtime, bundle):
    """Processes that outlive the container's first, in a shared pid namespace, die with `delete`."""
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "pid"]
    container_id = runtime.running(bundle.sh("setsid sleep 1001 & echo ready"))
    runtime.wait_for_output("ready")
    runtime.wait_for(container_id, "stopped")
    runtime("delete", container_id)
    assert not bundle.cgroup("pids").exists()


@runc_agrees
def test_pause_freezes(runtime, bundle):
    """A paused container does not run; resumed, it goes on."""
    container_id = runtime.running(
        bundle.sh("trap 'echo got' USR1; echo ready; while :; do sleep 0.01; done")
    )
    runtime.wait_for_output("ready")
    runtime("pause", container_id)
    runtime("kill", container_id, "USR1")
    assert "got" not in runtime.created.out_path.read_text()
    runtime("resume", container_id)
    runtime.wait_for_output("got")


@runc_agrees
def test_pause_of_a_stopped_container(runtime, bundle):
    """A stopped container cannot be paused or resumed."""
    container_id = runtime.running(bundle.sh("true"))
    runtime.wait_for(container_id, "stopped")
    assert "container not running" in runtime("pause", container_id, check=False).err
    assert "container not paused" in runtime("resume", container_id, check=False).err


# ---- documents ---------------------------------------------------------------------------------------------------


@runc_agrees
def test_spec_makes_a_bundle_that_runs(runtime, bundle):
    """`spec` writes a config that runs with a root filesystem beside it."""
    runtime("spec", cwd=bundle.path)
    config = json.loads((bundle.path / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["echo", "works"]
    config["root"]["path"] = bundle.config["root"]["path"]
    config["linux"]["cgroupsPath"] = bundle.linux["cgroupsPath"]
    (bundle.path / "config.json").write_text(json.dumps(config))
    assert runtime.run(bundle).out == "works\n"


@runc_agrees
def test_spec_overwrites_nothing(runtime, bundle):
    """A config.json that is there stays."""
    bundle.write()
    done = runtime("spec", "--bundle", bundle.path, check=False)
    assert done.status == 1 and "File config.json exists. Remove it first" in done.err


@runc_agrees
def test_spec_rootless(runtime, tmp_path):
    """`spec --rootless` asks for a user namespace and for nothing that a user may not have."""
    runtime("spec", "--rootless", "--bundle", tmp_path)
    linux = json.loads((tmp_path / "config.json").read_text())["linux"]
    kinds = {namespace["type"] for namespace in linux["namespaces"]}
    assert "user" in kinds and "network" not in kinds
    assert linux["uidMappings"][0]["size"] == 1 and "resources" not in linux


def test_features(runtime):
    """The features document names versions, hooks, namespaces, and what each plugin can do."""
    document = json.loads(runtime("features").out)
    assert document["ociVersionMin"] == "1.0.0" and document["ociVersionMax"]
    assert "createRuntime" in document["hooks"] and "rbind" in document["mountOptions"]
    linux = document["linux"]
    assert {"pid", "user", "time"} <= set(linux["namespaces"])
    assert "CAP_SYS_ADMIN" in linux["capabilities"]
    assert linux["cgroup"]["v1"] is True
    assert "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]


def test_features_are_the_specs(runtime):
    """The features document fits the spec's own schema."""
    folder = os.environ.get("OCIFW_RUNTIME_SPEC")
    if not folder:
        pytest.skip("needs the runtime-spec's folder in OCIFW_RUNTIME_SPEC")
    import jsonschema
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    registry = Registry().with_resources(
        [
            (path.name, Resource(contents=json.loads(path.read_text()), specification=DRAFT4))
            for path in Path(folder, "schema").glob("*.json")
        ]
    )
    schema = registry.contents("features-schema.json")
    validator = jsonschema.Draft4Validator(schema, registry=registry)
    assert list(validator.iter_errors(json.loads(runtime("features").out))) == []


# ---- list --------------------------------------------------------------------------------------------------------


@runc_agrees
def test_list_skips_what_it_cannot_read(runtime, container):
    """A broken entry of the state root is reported and skipped, and does not hide the others."""
    broken = runtime.root / "broken"
    broken.mkdir()
    (broken / "state.json").write_text("{")
    try:
        done = runtime("list", "--format", "json")
    finally:
        (broken / "state.json").unlink()
        broken.rmdir()
    assert [row["id"] for row in json.loads(done.out)] == [container]
    assert "broken" in done.err


@runc_agrees
def test_list_of_an_unknown_format(runtime, container):
    """An unknown format is refused."""
    done = runtime("list", "--format", "yaml", check=False)
    assert done.status == 1 and "invalid format option" in done.err


# ---- the log -----------------------------------------------------------------------------------------------------


@runc_agrees
def test_log_json(runtime, tmp_path):
    """With --log-format json the log is one object a line, as containerd reads it; the error is on stderr, too."""
    log = tmp_path / "log.json"
    command = ["--log", log, "--log-format", "json", "state", "unknown"]
    done = runtime(*command, check=False)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["level"] for record in records] == ["error"]
    assert "does not exist" in records[0]["msg"] and "does not exist" in done.err
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", records[0]["time"])


@runc_agrees
def test_log_text(runtime, tmp_path):
    """Without a format the log is text, appended to what is there."""
    log = tmp_path / "log"
    for _ in range(2):
        runtime("--log", log, "state", "unknown", check=False)
    lines = log.read_text().splitlines()
    assert len(lines) == 2
    assert all("level=error" in line and "does not exist" in line for line in lines)


@runc_agrees
def test_unknown_log_format(runtime):
    """Another format is refused."""
    done = runtime("--log-format", "xml", "list", check=False)
    assert done.status == 1 and "log-format" in done.err


# ---- the command line --------------------------------------------------------------------------------------------


@runc_agrees
def test_version(runtime):
    """--version has the lines that docker reads."""
    lines = runtime("--version").out.splitlines()
    assert re.match(r"(ocifw|runc) version \d+\.\d+\.\d+", lines[0])
    assert any(line.startswith("commit: ") for line in lines)
    assert any(re.match(r"spec: 1\.\d+\.\d+", line) for line in lines)
    assert runtime("-v").out == runtime("--version").out


@runc_agrees
def test_help(runtime):
    """Help of the program and of each verb is no error."""
    verbs = (
        "create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps", "resume", "run", "spec",
        "start", "state", "update",
    )  # fmt: skip
    text = runtime("--help").out
    for verb in verbs:
        assert verb in text
    for verb in verbs[:4]:
        assert verb in runtime(verb, "--help").out, verb


@runc_agrees
def test_wrong_usage(runtime):
    """Unknown options and wrong numbers of arguments are errors, with the usage."""
    for command, words in (
        (["--nonsense"], "flag provided but not defined: -nonsense"),
        (["state", "--nonsense"], "flag provided but not defined: -nonsense"),
        (["state"], "requires exactly 1 argument"),
        (["state", "a", "b"], "requires exactly 1 argument"),
        (["kill"], "requires a minimum of 1 argument"),
        (["create", "--bundle"], "flag needs an argument"),
    ):
        done = runtime(*command, check=False)
        assert done.status == 1 and words in done.out + done.err, (command, done)


@runc_agrees
def test_options_after_the_id(runtime, bundle):
    """Options may stand after the id."""
    container_id = runtime.id()
    runtime("create", container_id, "--bundle", bundle.sh(FOREVER).path)
    assert runtime.status(container_id) == "created"


@runc_agrees
def test_the_bundle_is_the_current_folder(runtime, bundle):
    """Without --bundle the current folder is the bundle."""
    bundle.sh("echo works")
    assert runtime("run", runtime.id(), cwd=bundle.path).out == "works\n"


@runc_agrees
def test_a_missing_bundle(runtime):
    """A bundle that is not there is named."""
    done = runtime("create", "--bundle", "/nonexistent/bundle", runtime.id(), check=False)
    assert done.status == 1 and "/nonexistent/bundle" in done.err


@runc_agrees
def test_the_state_root(runtime, bundle, tmp_path):
    """Containers are below --root, in a folder that only its owner may enter."""
    runtime.create(bundle.sh(FOREVER))
    assert runtime.root.stat().st_mode & 0o7777 & ~0o1000 == 0o700
    other = runtime("--root", tmp_path / "other", "list", "-q")
    assert other.out == ""
