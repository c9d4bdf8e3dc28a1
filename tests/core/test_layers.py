"""Layers: what each operator of a patch does, that merging is associative where promised, and that origins are complete."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocifw.layers import MISSING, Layering, leaves, path_text
from ocifw.patches import Compiler, merged
from ocifw.profile import Effective


def applied(config, *patches):
    """The config with patches laid over it, in order."""
    layering = Layering(config)
    for number, patch in enumerate(patches, 1):
        compiler = Compiler()
        node = compiler.node(patch)
        assert not compiler.problems, compiler.problems
        layering.apply(node, number)
    return layering


@pytest.mark.parametrize(
    ("config", "patch", "expected"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({}, {"a": {"b": None}}, {}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [1, 2]}, {"a+": [2, 3]}, {"a": [1, 2, 2, 3]}),
        ({}, {"a+": [1]}, {"a": [1]}),
        ({"a": [1, 2, 1]}, {"a-": [1, 9]}, {"a": [2]}),
        ({}, {"a-": [1]}, {}),
        ({"a": [1, 2]}, {"a-": [2], "a+": [3]}, {"a": [1, 3]}),
        ({"a": 1}, {"a?": 2}, {"a": 1}),
        ({"a": None}, {"a?": 2}, {"a": 2}),
        ({}, {"a?": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 9}, {"a<": 5}, {"a": 5}),
        ({"a": 3}, {"a<": 5}, {"a": 3}),
        ({}, {"a<": 5}, {"a": 5}),
        ({"annotations": {"x+": "1"}}, {"annotations": {"x+": "2", "y?": "3"}},
         {"annotations": {"x+": "2", "y?": "3"}}),
    ],
)  # fmt: skip
def test_operators(config, patch, expected):
    """Mappings merge, values replace, null removes, and each operator does what its name says."""
    before = copy.deepcopy(config)
    assert applied(config, patch).value == expected
    assert config == before


@pytest.mark.parametrize("old", [0, -1, None, 600])
def test_limits_of_cgroups_may_be_unlimited(old):
    """In cgroups 0 and -1 are no limit, and a limit of a profile counts against them."""
    pids = {} if old is None else {"limit": old}
    config = {"linux": {"resources": {"pids": pids}}}
    patch = {"linux": {"resources": {"pids": {"limit<": 512}}}}
    assert applied(config, patch).value["linux"]["resources"]["pids"] == {"limit": 512}


def test_limit_of_zero_is_a_limit_for_rlimits():
    """RLIMIT_CORE of 0 is stricter than any other, and stays."""
    config = {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 9}]}}
    patch = {"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft<": 5, "hard<": 5}]}}
    assert applied(config, patch).value["process"]["rlimits"] == [
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 5}
    ]


def test_keyed_lists():
    """Mounts, namespaces, rlimits, devices and env merge by their key; new ones come last."""
    config = {
        "mounts": [{"destination": "/tmp/", "type": "tmpfs"}, {"destination": "/b"}],
        "process": {"env": ["A=1", "B=2"]},
        "linux": {"namespaces": [{"type": "pid"}], "devices": [{"path": "/dev/x", "type": "c"}]},
    }
    patch = {
        "mounts": [{"destination": "/tmp", "options+": ["ro"]}, {"destination": "/c", "type": "bind"}],
        "process": {"env": ["B=3", "C=4"]},
        "linux": {"namespaces": [{"type": "user"}, {"type": "pid", "path": "/p"}],
                  "devices": [{"path": "/dev/x", "uid": 1}]},
    }  # fmt: skip
    assert applied(config, patch).value == {
        "mounts": [
            {"destination": "/tmp/", "type": "tmpfs", "options": ["ro"]},
            {"destination": "/b"},
            {"destination": "/c", "type": "bind"},
        ],
        "process": {"env": ["A=1", "B=3", "C=4"]},
        "linux": {
            "namespaces": [{"type": "pid", "path": "/p"}, {"type": "user"}],
            "devices": [{"path": "/dev/x", "type": "c", "uid": 1}],
        },
    }


def test_removing_by_key():
    """Members of a keyed list are removed by their key; what only removes does not make a new member."""
    config = {
        "mounts": [{"destination": "/a"}, {"destination": "/b"}],
        "process": {"env": ["A=1", "B=2"]},
    }
    patch = {"mounts-": ["/a/"], "process": {"env-": ["A"]}}
    made = applied(config, patch).value
    assert made == {"mounts": [{"destination": "/b"}], "process": {"env": ["B=2"]}}
    made = applied({}, {"mounts": [{"destination": "/x", "options-": ["rw"]}]}).value
    assert made == {}


def test_sets_get_what_they_lack():
    """A path is masked once."""
    config = {"linux": {"maskedPaths": ["/a"]}}
    made = applied(config, {"linux": {"maskedPaths+": ["/a", "/b"]}}).value
    assert made == {"linux": {"maskedPaths": ["/a", "/b"]}}


def capabilities(patch, **sets):
    config = {"process": {"capabilities": sets} if sets else {}}
    made = applied(config, {"process": {"capabilities": patch}}).value
    return made.get("process", {}).get("capabilities")


def test_capabilities():
    """keep, drop and add, in this order, on all sets; add leaves the inheritable and ambient sets alone."""
    sets = {"bounding": ["CAP_A", "CAP_B", "CAP_C"], "ambient": ["CAP_A"]}
    assert capabilities({"keep": ["CAP_A", "CAP_X"]}, **sets) == {
        "bounding": ["CAP_A"],
        "ambient": ["CAP_A"],
    }
    assert capabilities({"drop": ["CAP_A"]}, **sets) == {
        "bounding": ["CAP_B", "CAP_C"],
        "ambient": [],
    }
    assert capabilities({"drop": ["ALL"], "add": ["CAP_N"]}, **sets) == {
        "bounding": ["CAP_N"], "effective": ["CAP_N"], "permitted": ["CAP_N"], "ambient": []
    }  # fmt: skip
    assert capabilities({"keep": ["CAP_A"], "drop": ["CAP_A"]}) is None
    assert capabilities({"bounding": ["CAP_Z"], "drop": ["CAP_Q"]}, **sets)["bounding"] == ["CAP_Z"]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"a+": 1}, "a+: appends members, and must be a list, not 1"),
        ({"a-": {}}, "a-: removes members, and must be a list, not a mapping"),
        ({"a<": "5"}, "a<: is a limit and must be an integer, not '5'"),
        ({"mounts": [{"type": "x"}]}, "mounts[0]: must be a mapping with destination"),
        ({"process": {"env": ["A"]}}, "process.env[0]: must be NAME=VALUE"),
        ({"process": {"capabilities": {"keep": "CAP_A"}}}, "must be a list of capabilities"),
        ({"linux": {"seccomp": {"base": 1}}}, "must be a name or a path, not 1"),
        ({"linux": {"seccomp": {"deny": ["x"], "syscalls": []}}}, "cannot stand beside base, deny"),
        ({"linux": {"seccomp": {"deny": [{"names": ["a"], "args": []}]}}}, "must be the name of a system call"),
        ({"linux": {"seccomp": {"allow": [3]}}}, "must be the name of a system call"),
    ],
)  # fmt: skip
def test_wrong_patches(patch, message):
    """What cannot be applied is a problem with its path."""
    compiler = Compiler()
    compiler.node(patch)
    assert message in str(compiler.problems[0][1])


# ---- properties --------------------------------------------------------------------------------------------------

scalars = st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["", "x", "y"]))
names = st.sampled_from(["a", "b", "c"])
plain = st.recursive(
    scalars, lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(names, below, max_size=3)), max_leaves=8
)  # fmt: skip
keyed = st.fixed_dictionaries(
    {},
    optional={
        "mounts": st.lists(
            st.fixed_dictionaries(
                {"destination": st.sampled_from(["/a", "/b", "/c"])},
                optional={
                    "type": st.sampled_from(["x", "y"]),
                    "options": st.lists(names, max_size=2),
                },
            ),
            max_size=3,
            unique_by=lambda mount: mount["destination"],
        ),
        "process": st.fixed_dictionaries(
            {},
            optional={
                "env": st.lists(
                    st.sampled_from(["A=1", "A=2", "B=1", "B=2", "C=1"]),
                    max_size=3,
                    unique_by=lambda entry: entry[0],
                )
            },
        ),
        "linux": st.dictionaries(names, scalars, max_size=3),
    },
)
# As in config.json, what is a mapping is always one.
mappings = st.recursive(
    st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=2)), max_size=3),
    lambda below: st.dictionaries(st.sampled_from(["m", "n"]), below, max_size=2),
    max_leaves=6,
)
typed = st.builds(lambda one, other: {**one, **other}, mappings, keyed)
documents = st.builds(
    lambda one, other: {**one, **other}, st.dictionaries(names, plain, max_size=3), keyed
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(typed, typed, typed)
def test_merging_is_associative(one, two, three):
    """Without null and operators it does not matter how layers are grouped, where what is a mapping always is one."""
    assert merged(merged(one, two), three) == merged(one, merged(two, three))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(documents, documents)
def test_merging_is_idempotent(one, two):
    """A layer that is laid twice is laid once, and one that is empty changes nothing."""
    once = merged(one, two)
    assert merged(once, two) == once
    assert merged(one, {}) == one


sets = st.lists(st.sampled_from(["/a", "/b", "/c"]), unique=True)
edits = st.fixed_dictionaries({}, optional={"maskedPaths+": sets, "maskedPaths-": sets})


def combined(first, second):
    """Two edits of a set as one."""
    removed = [*first.get("maskedPaths-", ()), *second.get("maskedPaths-", ())]
    added = [
        path for path in first.get("maskedPaths+", ()) if path not in second.get("maskedPaths-", ())
    ]
    return {"maskedPaths-": removed, "maskedPaths+": [*added, *second.get("maskedPaths+", ())]}


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(sets, edits, edits)
def test_edits_of_sets_combine(paths, first, second):
    """Two layers that edit a set come to the same members as one that says both."""
    config = {"linux": {"maskedPaths": paths}}
    separate = applied(config, {"linux": first}, {"linux": second}).value
    together = applied(config, {"linux": combined(first, second)}).value
    assert set(separate["linux"]["maskedPaths"]) == set(together["linux"]["maskedPaths"])


patches = st.recursive(
    st.one_of(scalars, st.none()),
    lambda below: st.dictionaries(names, below, max_size=3),
    max_leaves=8,
)
operated = st.builds(
    lambda one, other: {**other, **one},
    st.fixed_dictionaries(
        {},
        optional={
            "a+": st.lists(scalars, max_size=2), "b-": st.lists(scalars, max_size=2), "c<": st.integers(-2, 3),
            "a?": plain, "mounts-": st.lists(st.sampled_from(["/a", "/b"]), max_size=2),
            "process": st.fixed_dictionaries({"capabilities": st.fixed_dictionaries({}, optional={
                "keep": st.lists(names), "drop": st.lists(names), "add": st.lists(names),
                "bounding": st.lists(names)})}),
        },
    ),
    st.one_of(st.dictionaries(names, patches, max_size=3), documents),
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(documents, st.lists(operated, min_size=1, max_size=3))
def test_every_leaf_has_an_origin(config, layers):
    """Every leaf that is not as in config.json is of a layer; of two origins a later layer's counts."""
    layering = applied(config, *layers)
    rows = [
        ("config.json", "config.json"),
        *[(str(n), f"{n}.yaml") for n in range(1, len(layers) + 1)],
    ]
    effective = Effective(layering.value, rows, dict(layering.origins()))
    origins = effective.origins
    assert set(origins) == {path_text(path) for path, _ in leaves(layering.value)}
    old = {json.dumps(path): value for path, value in leaves(config)}
    for path, value in leaves(layering.value):
        key = json.dumps(path)
        if key not in old or type(old[key]) is not type(value) or old[key] != value:
            moved = any(isinstance(part, int) for part in path)
            assert origins[path_text(path)].layer != "config.json" or moved, (path, value)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(documents, operated)
def test_changes_tell_of_everything(config, patch):
    """Without a change noted, nothing is different; the config that was given stays as it was."""
    before = copy.deepcopy(config)
    layering = applied(config, patch)
    assert config == before
    assert layering.changes or json.dumps(layering.value) == json.dumps(config)
    for path, old, new, layer, _ in layering.changes:
        assert layer == 1 and (
            old is MISSING or new is MISSING or json.dumps(old) != json.dumps(new)
        ), path
