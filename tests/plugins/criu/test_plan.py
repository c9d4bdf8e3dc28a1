"""What ocifw-criu says."""

from __future__ import annotations

import pytest

from ocifw.errors import OcifwError
from ocifw_criu import plugin


@pytest.mark.parametrize(("hook", "verb"), [("checkpoint", "checkpoint"), ("restore", "restore")])
def test_what_is_missing_is_named(monkeypatch, hook, verb):
    """Without CRIU the error names the packages; it never pretends that something was done."""
    monkeypatch.setattr(plugin, "_PROGRAMS", ())
    with pytest.raises(OcifwError, match=rf"^{verb} needs CRIU.*criu"):
        getattr(plugin, f"ocifw_{hook}")()


def test_it_is_not_implemented(monkeypatch, tmp_path):
    """With CRIU there, the error says that the operation is not implemented."""
    (tmp_path / "pycriu.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugin, "_PROGRAMS", ("/bin/sh",))
    with pytest.raises(OcifwError, match=r"^checkpoint is not implemented$"):
        plugin.ocifw_checkpoint()
