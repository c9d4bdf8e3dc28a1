"""The examples: installed beside ocifw as others would, each passing its tests, and all of them in one container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocifw.hookspecs import API_VERSION

EXAMPLES = ("audit-log", "cdi", "hooks-d", "landlock")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def with_examples(pristine, tmp_path_factory, repository):
    """An installation with all examples, by pip, and the set file that names them."""
    prefix = tmp_path_factory.mktemp("examples") / "prefix"
    shutil.copytree(pristine.prefix, prefix, symlinks=True)
    made = type(pristine)(prefix)
    install(made, *[repository / "examples" / name for name in EXAMPLES])
    made.sets.mkdir(parents=True)
    shutil.copy(repository / "examples/sets.d/examples.yaml", made.sets)
    return made


def install(installation, *folders):
    """`pip install` of some projects into an installation, without any index."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-index",
    ]
    command += [
        "--no-build-isolation",
        "--root-user-action",
        "ignore",
        "--target",
        installation.library,
        *folders,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def run_tests(installation, folder, *options):
    """The tests of a project, against this installation."""
    environment = {**os.environ, "PYTHONPATH": str(installation.library)}
    command = [
        sys.executable,
        "-B",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-rs",
        *options,
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_passes_its_tests(with_examples, repository, name):
    """An example passes its tests, the contract of all plugins among them."""
    done = run_tests(with_examples, repository / "examples" / name)
    assert done.returncode == 0, done.stdout + done.stderr
    if os.geteuid() == 0:
        assert "skipped" not in done.stdout or "Landlock" in done.stdout, done.stdout


PREVIOUS = sorted((Path(__file__).parent / "previous").glob("examples-api-*.json"))
"""The examples as they were when a version of the API was published: text by path. One is added with each version; those
with another first number go."""


def test_every_minor_version_is_kept():
    """There are examples of each version of the API that this one still promises to run."""
    first, _, last = API_VERSION.partition(".")
    kept = {path.name for path in PREVIOUS}
    assert kept == {f"examples-api-{first}.{minor}.json" for minor in range(int(last) + 1)}


@pytest.mark.parametrize("archive", PREVIOUS, ids=lambda path: path.stem)
def test_those_of_the_previous_version(pristine, archive, tmp_path):
    """Plugins written for an earlier version of the API install, and pass the tests they had then."""
    for name, text in json.loads(archive.read_text()).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    prefix = tmp_path / "prefix"
    shutil.copytree(pristine.prefix, prefix, symlinks=True)
    made = type(pristine)(prefix)
    folders = [
        folder for folder in (tmp_path / "examples").iterdir() if (folder / "tests").is_dir()
    ]
    assert len(folders) == len(EXAMPLES)
    install(made, *folders)
    for folder in folders:
        done = run_tests(made, folder)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_of_a_company(installation, repository):
    """packaging/acme: its plugin passes its tests; its set, profile and policy count where they are installed."""
    acme = repository / "packaging/acme"
    install(installation, acme)
    done = run_tests(installation, acme)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "acme-site" not in installation.names()
    for path in acme.glob("profiles/*.yaml"):
        shutil.copy(path, installation.library / "ocifw/profiles")
    for path in acme.glob("sets.d/*.yaml"):
        installation.set(path.stem, path.read_text())
    checked = installation.ocifw("sets", "check")
    assert checked.returncode == 0, checked.stderr
    assert installation.names()[-1] == "acme-site"
    bundle = installation.prefix / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    found = installation.ocifw("explain", "--bundle", bundle, "process.env")
    assert "ACME_SITE=unknown" in found.stdout and "plugin acme-site" in found.stdout
    plan = ["plan", "--bundle", bundle, "--set", "linux.namespaces-=network", "box"]
    refused = installation.ocifw("--profile", "default", *plan)
    assert refused.returncode == 1 and "acme-own-network: require" in refused.stderr


def test_installed_they_are_inert(with_examples):
    """Without the set they are there and do nothing."""
    listed = with_examples.ocifw("plugins", "list").stdout
    assert listed.count("inert: not in set default") == len(EXAMPLES)


def test_the_set_can_be_used(with_examples):
    """All examples link with ocifw's own plugins, and nothing of them is heavy."""
    done = with_examples.ocifw("--set", "examples", "plugins", "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert with_examples.names("--set", "examples")[-4:] == [
        "cdi",
        "hooks-d",
        "landlock",
        "audit-log",
    ]
    assert with_examples.ocifw("sets", "check", "examples").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_all_in_one_container(with_examples, tmp_path):
    """A container runs with all of them: a device of CDI, a hook for all, a ruleset, and lines about its phases."""
    for name in ("cdi", "hooks.d"):
        (tmp_path / name).mkdir()
    (tmp_path / "cdi/x.json").write_text(json.dumps({
        "cdiVersion": "0.6.0", "kind": "example.com/null", "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/other", "hostPath": "/dev/null"}]}}]}))  # fmt: skip
    script = tmp_path / "hook.sh"
    script.write_text(f"#!/bin/sh\ncat > {tmp_path}/seen\n")
    script.chmod(0o755)
    (tmp_path / "hooks.d/x.json").write_text(json.dumps({
        "version": "1.0.0", "hook": {"path": str(script)}, "when": {"always": True}, "stages": ["createRuntime"]}))  # fmt: skip
    profile = tmp_path / "profile.yaml"
    profile.write_text(json.dumps({"plugins": {
        "cdi": {"devices": ["example.com/null=0"], "folders": [str(tmp_path / "cdi")]},
        "hooks-d": {"folders": [str(tmp_path / "hooks.d")]},
        "landlock": {"execute": ["/usr", "/bin", "/lib", "/lib64"], "write": ["/dev"], "least-abi": 0},
        "audit-log": {"file": str(tmp_path / "log")}}}))  # fmt: skip
    bundle = tmp_path / "bundle"
    assert with_examples.ocifw("bundle", bundle).returncode == 0
    config = json.loads((bundle / "config.json").read_text())
    name = f"examples-{os.getpid()}"
    config["process"].update(
        terminal=False, args=["sh", "-c", "echo x > /dev/other; cat /etc/passwd; echo done"]
    )
    config["linux"]["cgroupsPath"] = f"/{name}"
    (bundle / "config.json").write_text(json.dumps(config))
    done = with_examples.ocifw(
        "--root",
        tmp_path / "state",
        "--set",
        "examples",
        "--profile",
        profile,
        "run",
        "--bundle",
        bundle,
        name,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done"), done.stderr
    assert "Permission denied" in done.stderr or "no Landlock" in done.stderr
    assert json.loads((tmp_path / "seen").read_text())["id"] == name
    assert "created" in (tmp_path / "log").read_text()


def test_a_new_plugin_passes_its_tests(installation, tmp_path):
    """What `ocifw plugin new` makes installs, is inert, runs when named, and passes its tests at once."""
    made = installation.ocifw("plugin", "new", "my-first", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "ocifw-my-first"
    install(installation, folder)
    assert "my-first" not in installation.names()
    installation.set("default", "plugins: {my-first: true}")
    assert installation.names()[-1] == "my-first"
    done = run_tests(installation, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    again = installation.ocifw("plugin", "new", "my-first", cwd=tmp_path)
    assert again.returncode == 1 and "ocifw-my-first exists and is not empty" in again.stderr


@pytest.mark.parametrize(
    "name", ["Upper", "a_b", "-a", "a-", "1a", "a--b", "", "../x", "mounts", "core"]
)
def test_names_that_cannot_be(name):
    """A name that cannot be a distribution's, or is one of ocifw's own, is refused."""
    from ocifw.errors import OcifwError
    from ocifw.scaffold import new

    with pytest.raises(OcifwError, match="is no name of a plugin|is a part of ocifw"):
        new(name)
