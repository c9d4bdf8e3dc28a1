"""The schema of profiles that is published for editors: it knows every field, and agrees with what ocifw accepts."""

from __future__ import annotations

import re
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from ocifw import field_docs
from ocifw.profile_schema import published

ROOT = Path(__file__).parents[2]
SHIPPED = [
    *ROOT.glob("core/src/ocifw/profiles/*.yaml"),
    *ROOT.glob("packaging/acme/profiles/*.yaml"),
]


@pytest.fixture(scope="module")
def validator():
    schema = published()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def wrong(validator, text):
    document = YAML(typ="safe").load(text)
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_profiles(validator, path):
    """What is shipped is right."""
    assert wrong(validator, path) == []


def test_profiles_of_the_documents(validator):
    """What the documents show as profiles is right, but for the one that shows mistakes."""
    blocks = [
        (name, file, text)
        for name in ("profiles", "packaging")
        for file, text in re.findall(
            r"<!-- file: (\S+) -->\n```yaml\n(.*?)^```",
            (ROOT / f"docs/{name}.md").read_text(),
            re.MULTILINE | re.DOTALL,
        )
        if "sets.d" not in file
    ]
    assert len(blocks) > 4
    assert {file for _, file, text in blocks if wrong(validator, text)} == {"wrong.yaml"}


@pytest.mark.parametrize(
    "text",
    [
        "config: {linux: null}",
        "config: {linux: {resources: {pids: {limit: null, limit?: 5, limit<: 6}}}}",
        "config: {mounts-: [/tmp], mounts+: [{destination: /x}]}",
        "config: {annotations: {a+: b, c: null}, linux: {sysctl: {net.x-: '1'}}}",
        "config: {process: {capabilities: {keep: [CAP_KILL], drop: [ALL], add: [], bounding+: [CAP_KILL]}}}",
        "config: {linux: {seccomp: {base: [keep, docker-default], deny: [bpf], allow: [{names: [bpf], args: []}]}}}",
        "config: {linux: {seccomp: {defaultAction: SCMP_ACT_ALLOW}}}",
        "config: [{when: {rootless: true}, config: {hostname: x}}]",
        "config: {linux: {uidMappings: [{containerID: 0, hostID: '${euid}', size: 1}]}}",
    ],
)
def test_what_a_layer_may_say(validator, text):
    """Values, null, operators and the algebra of capabilities and filters."""
    assert wrong(validator, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "config: {hostnam: x}",
        "config: {hostname: 5}",
        "config: {hostname+: x}",
        "config: {linux: {maskedPaths+: x}}",
        "config: {linux: {resources: {pids: {limit<: many}}}}",
        "config: {linux: {resources: {pids: {limit: many}}}}",
        "config: {mounts: [{type: tmpfs}]}",
        "config: [{config: {hostnam: x}}]",
        "config: [{hostname: x}]",
        "config: {process: {capabilities: {keep: [KILL]}}}",
        "config: {linux: {seccomp: {base: 5}}}",
        "config: 5",
        "policy: [{deny: x}]",
    ],
)
def test_what_a_layer_may_not_say(validator, text):
    """Unknown fields, wrong types, operators where they mean nothing."""
    assert wrong(validator, text)


def test_every_field_is_there():
    """Each field that `explain` has a text for has that text in the schema, for editors to show."""
    schema = published()
    texts = set()

    def walk(value):
        if isinstance(value, dict):
            texts.add(str(value.get("description", "")))
            value = value.values()
        for member in value if not isinstance(value, str) and hasattr(value, "__iter__") else ():
            walk(member)

    walk(schema)
    assert [name for name, text in field_docs.fields() if text not in texts] == []
