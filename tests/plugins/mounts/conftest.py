"""Makes `plans` importable, and the plugin of the checkout where it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if importlib.util.find_spec("ocifw_mounts") is None:
    sys.path.insert(0, str(HERE.parents[2] / "plugins" / "mounts" / "src"))
sys.path.insert(0, str(HERE))
