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


OWN_COMMANDS = ("downstream",)
"""Folders of tests that need more than a machine with Debian's small packages, or minutes: see `./dev help`."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what has a command of its own, unless it is named."""
    if collection_path.parent != Path(__file__).parent or collection_path.name not in OWN_COMMANDS:
        return None
    asked = any(collection_path.name in argument for argument in config.invocation_params.args)
    return None if asked else True


def pytest_report_header(config: pytest.Config) -> str:
    tested = config.getoption("--runtime") or "ocifw"
    return f"runtime: {tested}, uid: {os.geteuid()}, kernel: {os.uname().release}"


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the checkout."""
    return Path(__file__).resolve().parents[1]
