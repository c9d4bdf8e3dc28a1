"""Flags are shown as words in plans and errors."""

from __future__ import annotations

import pytest

from ocifw import names, steps


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (steps.Clone(0x6C020000), "clone the container process, new namespaces: pid, network, ipc, uts, mount"),
        (steps.Clone(), "clone the container process, new namespaces: none"),
        (steps.Unshare(0x10000080), "unshare namespaces: user, time"),
        (steps.SetPropagation("/a", 0x84000), "make /a rslave"),
        (steps.SetHostPropagation(0x40000), "make the host's mounts private in the new mount namespace"),
        (steps.SetAttributes("/a", 0x3), "make /a ro,nosuid"),
        (steps.Execute(("sh", "-c"), ()), "execute sh"),
    ],
)  # fmt: skip
def test_steps_read_as_words(step, text):
    """A step's description has the words of config.json and mount(8), not numbers."""
    assert step.describe() == text


def test_unknown_flags_stay_visible():
    """A flag that no word is known for is shown as a number, never left out."""
    assert names.namespaces(0x20000 | 1) == "mount, 0x1"
