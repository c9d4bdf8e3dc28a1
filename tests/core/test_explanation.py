"""Places in JSON texts, paths that people type, the meaning of fields, and explanations as data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocifw import acceptance, field_docs, plugins
from ocifw.display import Paint
from ocifw.errors import OcifwError
from ocifw.explanation import View, as_text, explain, layered
from ocifw.json_places import original, places
from ocifw.layers import leaves, path_text

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {"args": ["sh"], "env": ["A=1", "B=2"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/tmp", "type": "tmpfs", "options": ["nosuid"]},
    ],
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "uts"}],
        "resources": {"pids": {"limit": 5}},
    },
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3)
    ),
    max_leaves=12,
)


@given(value=JSON, indent=st.sampled_from([None, 1, "\t"]))
def test_every_value_has_a_place(value, indent):
    """Every leaf has a place, at which its name or the value itself stands."""
    text = json.dumps(value, indent=indent)
    found = places(text)
    lines = text.split("\n")
    for path, leaf in leaves(value):
        line, column = found[path]
        rest = lines[line - 1][column - 1 :]
        assert rest.startswith(json.dumps(path[-1] if path and isinstance(path[-1], str) else leaf))


def test_a_name_that_is_given_twice():
    """The last one counts, as for the parser, with what it holds."""
    found = places('{"a": {"b": 1},\n "a": {"c": 2}}')
    assert found == {(): (1, 1), ("a",): (2, 2), ("a", "c"): (2, 8)}


def test_members_that_moved():
    """A member of a list is found in config.json by its natural key or value, whatever was put before it."""
    effective = {**CONFIG, "mounts": [{"destination": "/new"}, *CONFIG["mounts"]]}
    assert original(("mounts", 2, "options"), effective, CONFIG) == ("mounts", 1, "options")
    effective = {**CONFIG, "process": {**CONFIG["process"], "env": ["B=2"]}}
    assert original(("process", "env", 0), effective, CONFIG) == ("process", "env", 1)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mounts[/tmp].options[0]", ("mounts", 1, "options", 0)),
        ("mounts[/tmp/]", ("mounts", 1)),
        ("mounts[1]", ("mounts", 1)),
        ("process.env[B]", ("process", "env", 1)),
        ("linux.namespaces[pid].type", ("linux", "namespaces", 0, "type")),
        ('annotations["a.b"]', ("annotations", "a.b")),
        ("annotations[a.b]", ("annotations", "a.b")),
        ("linux.sysctl[net.ipv4.ip_forward]", ("linux", "sysctl", "net.ipv4.ip_forward")),
        ("linux.resources.memory.limit", ("linux", "resources", "memory", "limit")),
    ],
)
def test_paths(text, path):
    """Members are named by position or natural key; what is not set can be named, too."""
    assert field_docs.parse(text, CONFIG) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linux.resorces", "resorces is not known in linux: did you mean resources?"),
        ("hostnam", "hostnam is not known: did you mean hostname?"),
        ("mounts[/tpm]", "mounts has no /tpm: did you mean /tmp?"),
        ("process.cwd.x", "x is not known in process.cwd"),
        ("mounts[0", "a bracket is not closed"),
        ("linux..x", "is not a path"),
    ],
)
def test_wrong_paths(text, message):
    """What config.json has no place for is an error that says what may have been meant."""
    with pytest.raises(OcifwError) as caught:
        field_docs.parse(text, CONFIG)
    assert message in str(caught.value)


def test_every_field_is_documented():
    """Each property that the schema knows says what it means, in one line of a help."""
    found = dict(field_docs.fields())
    assert len(found) > 150
    assert [name for name, text in found.items() if not text.endswith(".") or len(text) > 100] == []
    known = {name for name, _, _ in acceptance.PROPERTIES["config"][1]}
    assert known <= {name.partition(".")[0].partition("[")[0] for name in found}


def view(profile=None, config=CONFIG):
    from ocifw.context import Host, Request
    from ocifw.profile import Roots, lay, load

    active = plugins.load()
    made = None
    if profile:
        request = Request("create", "c", "/bundle", "/bundle/rootfs", "/run/c")
        table = load((str(profile),), active, "", Roots(cached=False, owners=(0,)))
        made = lay(table, config, request, Host(), active)
    return View(made.config if made else config, made, active, "/bundle/config.json", None)


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "config:\n  hostname: box\n  linux: {resources: {pids: {limit: 3}}}\n  mounts-: [/tmp]\n"
    )
    path.chmod(0o644)
    return path


def test_explain(profile):
    """A value has its origin, what it overrode, its owner and its meaning."""
    found = explain(view(profile), "linux.resources.pids.limit")
    assert found["value"] == 3 and found["set"]
    assert found["origin"] == {"layer": "site", "file": str(profile), "line": 3, "column": 30}
    assert [(c["old"], c["new"]) for c in found["history"]] == [(5, 3)]
    assert found["plugin"] == "cgroups"
    assert found["documentation"].startswith("Processes and threads at most")
    lines = list(as_text(found, Paint(False)))
    assert lines[0] == "linux.resources.pids.limit = 3"
    assert any("3 instead of 5" in line for line in lines)


def test_explain_a_part(profile):
    """An object with values of several layers lists those that are not config.json's."""
    found = explain(view(profile), "linux")
    assert found["origin"] is None
    assert [member["path"] for member in found["members"]] == ["linux.resources.pids.limit"]


def test_explain_what_is_not_set(profile):
    """A field that is not set has no origin, and is told."""
    found = explain(view(profile), "domainname")
    assert not found["set"] and found["origin"] is None
    assert "not set" in next(as_text(found, Paint(False)))


def test_layered(profile):
    """Everything that is not config.json's, and what was taken away, has a row."""
    rows = layered(view(profile))
    assert {row["path"] for row in rows} >= {"hostname", "linux.resources.pids.limit"}
    assert all(row["origin"]["layer"] == "site" for row in rows)
    assert layered(view()) == []


def test_origins_are_complete(profile):
    """Every leaf of the effective config has an origin."""
    made = view(profile)
    for path, _ in leaves(made.config):
        assert made.origin(path).file, path_text(path)
