"""What the tests of ocifw-seccomp share: profiles of engines, and libseccomp to compare with."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

for package, folder in (("ocifw", "core"), ("ocifw_seccomp", "plugins/seccomp")):
    if importlib.util.find_spec(package) is None:
        sys.path.insert(0, str(ROOT / folder / "src"))
sys.path.insert(0, str(HERE))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; its folder."""
    from ocifw import boot
    from ocifw_seccomp import cached

    monkeypatch.setattr(boot, "cache_folder", lambda: str(tmp_path / "cache" / "ocifw"))
    monkeypatch.setattr(cached, "_found", {})
    return tmp_path / "cache" / "ocifw"


@pytest.fixture(scope="session")
def profiles() -> dict[str, dict[str, Any]]:
    """linux.seccomp as engines write it, by engine, version and case."""
    return {
        path.stem: json.loads(path.read_text()) for path in sorted(HERE.glob("profiles/*.json"))
    }


@pytest.fixture(scope="session")
def lib() -> ctypes.CDLL:
    """libseccomp."""
    from libseccomp import library

    found = library()
    if found is None:
        pytest.skip("needs libseccomp (Debian: libseccomp2)")
    return found
