"""Hooks that answer questions and add verbs, by plugins that are installed as others would install them."""

from __future__ import annotations

import json
import os

import pytest

from ocifw.testing import linked

pytestmark = pytest.mark.filterwarnings("default")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
HEAD = "from ocifw import hookimpl\nfrom ocifw.steps import RuntimeStep\n\n"


@pytest.mark.slow
def test_a_verb_of_a_plugin(installation):
    """ocifw_commands adds a verb, which gets the global options and the arguments, and whose result is the exit status."""
    package = installation.plugin(
        "verbs",
        HEAD + "@hookimpl\ndef ocifw_commands():\n    return {'greet': 'ocifw_verbs.greet:main'}\n",
    )
    (package / "greet.py").write_text(
        "def main(globals_, words):\n    print('hello', *words)\n    return 7\n"
    )
    installation.set("acme", "plugins: {verbs: true}")
    done = installation.ocifw("--set", "acme", "greet", "--you", "x")
    assert (done.returncode, done.stdout) == (7, "hello --you x\n")
    assert installation.ocifw("greet").returncode == 3


@needs_root
@pytest.mark.slow
def test_figures_of_a_plugin(installation, tmp_path):
    """What ocifw_stats answers is merged with what others count."""
    installation.plugin(
        "figures",
        HEAD
        + "@hookimpl\ndef ocifw_stats(container):\n    return {'pids': {'own': container.id}}\n",
    )
    installation.set("acme", "plugins: {figures: true}")
    bundle = tmp_path / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    config = json.loads((bundle / "config.json").read_text())
    name = f"figures-{os.getpid()}"
    config["process"].update(terminal=False, args=["sleep", "60"])
    config["linux"]["cgroupsPath"] = f"/{name}"
    (bundle / "config.json").write_text(json.dumps(config))
    root = ("--root", tmp_path / "state")
    try:
        made = installation.ocifw(
            *root, "--set", "acme", "run", "--detach", "--bundle", bundle, name
        )
        assert made.returncode == 0, made.stderr
        # The set is the one that the container was made with.
        done = installation.ocifw(*root, "events", "--stats", name)
        assert json.loads(done.stdout)["data"]["pids"]["own"] == name, done.stderr
    finally:
        installation.ocifw(*root, "delete", "--force", name)


def test_the_first_that_tells_of_memory(tmp_path):
    """ocifw_oom: the first plugin that answers decides; one that cannot tell answers None."""
    import types

    from ocifw.container import Container
    from ocifw.context import Host

    modules = []
    for name, answer in (("a", "None"), ("b", "container.id"), ("c", "1 / 0")):
        module = types.ModuleType(f"ocifw_{name}.plugin")
        module.__file__ = __file__
        exec(f"{HEAD}@hookimpl\ndef ocifw_oom(container):\n    return {answer}\n", module.__dict__)
        modules.append(module)
    active = linked(modules, first_party=False)
    state = {"id": "box", "pid": 1, "config": {}, "notes": {}}
    container = Container(str(tmp_path), state)
    assert active.ask("ocifw_oom", {"container": container, "host": Host()}) == "box"


@needs_root
@pytest.mark.slow
def test_restoring_by_a_plugin(installation, tmp_path):
    """ocifw_restore: steps of the plugin that can restore are applied, and taken back when one fails."""
    source = HEAD + (
        "class Mark(RuntimeStep):\n    undoable = True\n    path: str\n"
        "    def apply(self, context):\n        open(self.path, 'w').close()\n"
        "    def undo(self, context):\n        import os\n        os.unlink(self.path)\n"
        "class Fail(RuntimeStep):\n    path: str\n"
        "    def apply(self, context):\n        open(self.path + '-seen', 'w').close()\n        raise OSError(5, 'broken')\n"
        "@hookimpl\ndef ocifw_restore(options):\n    yield Mark(options['image-path'] + '/mark')\n"
        "    yield Fail(options['image-path'] + '/mark')\n"
    )
    installation.plugin("restorer", source)
    installation.set("acme", "plugins: {restorer: true, criu: false}")
    bundle = tmp_path / "bundle"
    assert installation.ocifw("bundle", bundle).returncode == 0
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    (bundle / "config.json").write_text(json.dumps(config))
    images = tmp_path / "images"
    images.mkdir()
    done = installation.ocifw(
        "--root",
        tmp_path / "state",
        "--set",
        "acme",
        "restore",
        "--bundle",
        bundle,
        "--image-path",
        images,
        "again",
    )
    assert done.returncode == 1 and "input/output error" in done.stderr, done.stderr
    assert sorted(os.listdir(images)) == ["mark-seen"]
