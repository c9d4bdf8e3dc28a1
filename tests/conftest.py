"""What all tests share. Options must stand here: pytest reads the folders below too late for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--runtime",
        default="",
        metavar="PROGRAM",
        help="test this runtime instead of ocifw, as far as behaviour is runc's: proves the tests themselves",
    )
    parser.addoption(
        "--systemd-cgroup",
        action="store_true",
        help="let systemd make the cgroups, with this runtime's option of the same name",
    )


def pytest_report_header(config: pytest.Config) -> str:
    tested = config.getoption("--runtime") or "ocifw"
    return f"runtime: {tested}, uid: {os.geteuid()}, kernel: {os.uname().release}"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parents[1]
