"""Documents that are made from code are what the code says."""

from __future__ import annotations

import subprocess
import sys


def test_generated_documents(repository):
    """docs/steps.md is made from the vocabulary as it is now; `./dev docs` writes it."""
    command = [sys.executable, "-B", "tools/generate_docs.py", "--check"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
