"""What is left of a broken config, for the checks that come after."""

from __future__ import annotations

import random

import pytest

from ocifw import validate
from ocifw.layers import leaves
from ocifw.pruned import pruned

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "rlimits": []},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/tmp"}],
    "linux": {"resources": {"pids": {"limit": 5}, "memory": {"limit": 1}}},
}


def changed(*path, to):
    """CONFIG with one value changed."""

    def copy(value, rest):
        if not rest:
            return to
        made = list(value) if isinstance(value, list) else dict(value)
        made[rest[0]] = copy(made[rest[0]] if rest[1:] else None, rest[1:])
        return made

    return copy(CONFIG, path)


@pytest.mark.parametrize(
    ("document", "gone"),
    [
        (CONFIG, []),
        (changed("hostname", to=5), ["hostname"]),
        (changed("mounts", 1, "options", to="ro"), ["mounts"]),
        (changed("linux", "resources", "pids", "limit", to="many"), ["linux.resources.pids.limit"]),
        (changed("process", "cwd", to="relative"), ["process.cwd"]),
        (changed("process", "args", to=[]), ["process.args"]),
        (changed("process", to=5), ["process"]),
        ({**CONFIG, "ociVersion": None}, ["ociVersion"]),
    ],
)
def test_what_goes(document, gone):
    """The member that is wrong goes, a list as a whole; what must be there is stood in for."""
    config, found = pruned(document)
    assert found[: len(gone)] == gone and bool(found) == bool(gone)
    assert config["linux"]["resources"].get("memory") == {"limit": 1}
    validate.check(config, "config", "")


@pytest.mark.parametrize("document", [5, [], None, "x"])
def test_nothing_is_left(document):
    """Of what is no object nothing can be checked."""
    assert pruned(document)[0] is None


def test_whatever_is_wrong():
    """With a value of any type anywhere, what is left is valid, or nothing is."""
    choice = random.Random(3)
    paths = [path for path, _ in leaves(CONFIG)]
    for _ in range(200):
        document = CONFIG
        path = choice.choice(paths)
        document = changed(
            *path[: choice.randint(1, len(path))],
            to=choice.choice([5, "x", [], {}, [{}], True, None]),
        )
        config, _ = pruned(document)
        if config is not None:
            validate.check(config, "config", "")
