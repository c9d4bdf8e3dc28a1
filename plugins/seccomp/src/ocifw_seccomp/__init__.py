"""ocifw-seccomp: system call filters, compiled by ourselves to classic BPF."""

from __future__ import annotations

PATH = "linux.seccomp"
