"""Which fields a config sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ocifw import acceptance, fields

sys.path.insert(0, str(Path(__file__).parent))
import documents


def properties(*names):
    known, holders = acceptance.PROPERTIES["config"]
    for name in names:
        known, holders = {holder: below for holder, _, below in holders}[name]
    return known


def test_every_property_is_a_field():
    """Each property of the schema belongs to the core or is a field that a plugin can own."""
    known = {name for name in properties() if name not in ("process", "linux")}
    known |= {f"process.{name}" for name in properties("process")}
    known |= {f"linux.{name}" for name in properties("linux")}
    assert sorted(known) == sorted([*fields.FIELDS, *fields.CORE])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        ({"process": None, "linux": None, "hooks": None, "mounts": None}, []),
        ({"mounts": [], "hostname": "", "root": {"path": "x"}}, ["root"]),
        ({"hooks": {"prestart": [], "poststop": None}}, []),
        ({"hooks": {"prestart": [{"path": "/x"}]}}, ["hooks"]),
        (
            {
                "process": {
                    "args": ["sh"],
                    "env": ["A=b"],
                    "terminal": False,
                    "noNewPrivileges": False,
                }
            },
            [],
        ),
        (
            {"process": {"terminal": True, "noNewPrivileges": True}},
            ["process.terminal", "process.noNewPrivileges"],
        ),
        ({"process": {"oomScoreAdj": 0}}, ["process.oomScoreAdj"]),
        ({"process": {"oomScoreAdj": None}}, []),
        ({"process": {"capabilities": {}}}, ["process.capabilities"]),
        ({"process": {"user": {"uid": 0, "gid": 0}, "cwd": "/"}}, []),
        ({"process": {"user": {"uid": 0, "gid": 7}, "cwd": "/x"}}, ["process.user", "process.cwd"]),
        ({"process": {"user": {"uid": 0, "gid": 0, "umask": 0}}}, ["process.user"]),
        ({"process": {"user": {"uid": 0, "gid": 0, "additionalGids": [0]}}}, ["process.user"]),
        ({"process": {"consoleSize": {"height": 1, "width": 1}}}, []),
        (
            {"process": {"terminal": True, "consoleSize": {"height": 1, "width": 1}}},
            ["process.terminal", "process.consoleSize"],
        ),
        (
            {
                "linux": {
                    "resources": {"devices": [], "memory": {}},
                    "sysctl": {},
                    "cgroupsPath": "",
                }
            },
            [],
        ),
        ({"linux": {"resources": {"pids": {"limit": 0}}}}, ["linux.resources"]),
        (
            {"linux": {"netDevices": {"eth0": {}}, "intelRdt": {}}},
            ["linux.netDevices", "linux.intelRdt"],
        ),
        ({"annotations": {"a": "b"}, "ociVersion": "1.0.0", "windows": {"x": 1}}, []),
    ],
)
def test_what_counts_as_set(config, expected):
    """Nothing, in whichever form, is not set; zero and empty are where they say something."""
    assert fields.set_fields(config) == expected


def test_full_document_sets_every_field():
    """Each field is found when it is set."""
    config = {
        "root": {"path": "x"}, "mounts": [{}], "hostname": "h", "domainname": "d", "hooks": {"prestart": [{}]},
        "process": {**{name: [1] for name in properties("process")}, "user": {"uid": 1}},
        "linux": {**{name: [1] for name in properties("linux")}, "resources": {"pids": {}, "cpu": {"shares": 1}}},
    }  # fmt: skip
    assert sorted(fields.set_fields(config)) == sorted(fields.FIELDS)


@pytest.mark.parametrize("path", documents.engine_files(), ids=lambda path: path.name)
def test_engines_set_known_fields(path):
    """What is found is a field, and found once."""
    if documents.kind_of(path) == "config":
        found = fields.set_fields(json.loads(path.read_text()))
        assert set(found) <= set(fields.FIELDS) and len(found) == len(set(found))
        assert {"root", "process.capabilities"} <= set(found)
