"""The note of a dumped container's policy, and what a restore says about it. No CRIU is needed."""

from __future__ import annotations

import json

import pytest

from ocifw.container import Container
from ocifw.dumped_policy import NAME, lost, note
from ocifw.effective import Effective
from ocifw.errors import OcifwError
from ocifw.profile_policy import compile_rules

RULES = [
    {"deny": "process.user.uid is 0", "reason": "r", "name": "no-root"},
    {"limit": {"linux.resources.pids.limit": 9}, "reason": "r"},
]


def rows(*entries):
    return [row for entry in entries for row in compile_rules(entry, "site", "/site.yaml", (2, 5))]


def dumped(tmp_path, *entries):
    state = {"id": "c", "profile": {"policy": json.loads(json.dumps(rows(*entries)))}}
    note(str(tmp_path), Container("/nowhere", state))
    return str(tmp_path)


def now(*entries):
    return Effective({}, [("config.json", "config.json")], {}, rules=rows(*entries))


def test_no_policy_leaves_no_note(tmp_path):
    """A container without policy has no note, and a restore nothing to say."""
    note(str(tmp_path), Container("/nowhere", {"id": "c"}))
    assert list(tmp_path.iterdir()) == []
    assert lost(str(tmp_path), None) == []
    assert lost(dumped(tmp_path), None) == []


def test_rules_that_do_not_count_any_more(tmp_path):
    """Each rule that was in effect and is not now is told with its place, and which profile to restore with."""
    folder = dumped(tmp_path, *RULES)
    assert lost(folder, now(*RULES)) == []
    [text] = lost(folder, now(RULES[1]))
    assert "no-root: deny process.user.uid is 0 (/site.yaml:2:5)" in text and "pids" not in text
    [text] = lost(folder, None)
    assert "limit linux.resources.pids.limit: 9" in text
    assert text.endswith("restore with --profile site")


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"rules": 1}', '{"rules": [["a"]]}', '{"rules": [["a", "b", 3]]}',
     '{"rules": [["a\\nlevel=error", "b", "c"]]}'],
)  # fmt: skip
def test_a_note_that_was_changed(tmp_path, text):
    """A note that ocifw would not write is refused, with its path; nothing of it gets into the log as a line."""
    (tmp_path / NAME).write_text(text)
    with pytest.raises(OcifwError, match=NAME):
        lost(str(tmp_path), None)


def test_a_note_is_no_link(tmp_path):
    """A symbolic link in place of the note is not followed."""
    (tmp_path / NAME).symlink_to("other")
    with pytest.raises(OcifwError, match="too many levels of symbolic links"):
        lost(str(tmp_path), None)
