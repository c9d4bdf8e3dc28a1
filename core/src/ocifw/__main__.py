"""`python -m ocifw`. The command `ocifw` starts `boot.py`."""

from __future__ import annotations

import sys

from .boot import leave, start

if __name__ == "__main__":
    leave(start(sys.argv[1:], "ocifw"))
