"""The linters and the type checker have nothing to say. `./dev lint` runs these."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def clean(repository: Path, module: str, *arguments: str | Path) -> None:
    """Run a tool of the environment and show what it says when it is not content."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs {module}")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"{module}:\n{done.stdout}{done.stderr}", pytrace=False)


def test_formatting(repository):
    """Every Python file is formatted."""
    clean(repository, "ruff", "format", "--check", "--quiet", ".")


def test_lint(repository):
    """No rule of ruff is broken."""
    clean(repository, "ruff", "check", "--output-format", "concise", ".")


def test_types(repository):
    """mypy --strict accepts the core and every plugin."""
    sources = [repository / "core" / "src", *sorted(repository.glob("plugins/*/src"))]
    clean(repository, "mypy", "--no-error-summary", *sources)
