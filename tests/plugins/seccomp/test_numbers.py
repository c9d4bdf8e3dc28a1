"""The tables of system call numbers are libseccomp's and the kernel's."""

from __future__ import annotations

import ctypes

import libseccomp
import pytest
from random_profiles import TABLES, numbers

MODULES = [module for tables in TABLES.values() for _, module, _ in tables]


@pytest.mark.parametrize("module", MODULES)
def test_numbers_are_those_of_libseccomp(lib: ctypes.CDLL, module: str) -> None:
    """Every call that libseccomp knows here has its number, but for those that are multiplexed on x86."""
    token = libseccomp.TOKENS[f"SCMP_ARCH_{module.upper()}"]
    compared = 0
    for name, number in numbers(module).items():
        known = lib.seccomp_syscall_resolve_name_arch(token, name.encode())
        if known >= 0:
            assert known == number, name
            compared += 1
    assert compared > 300


@pytest.mark.parametrize("module", MODULES)
def test_numbers_are_used_once(module: str) -> None:
    """No two calls of an architecture share a number."""
    assert len(set(numbers(module).values())) == len(numbers(module))


def test_calls_newer_than_libseccomp_are_known() -> None:
    """Calls of recent kernels have the number that all architectures share."""
    for module in MODULES:
        base = 0x40000000 if module == "x32" else 0
        for name, number in (("mseal", 462), ("statmount", 457), ("file_setattr", 469)):
            assert numbers(module)[name] == base + number


def test_x32_has_its_bit() -> None:
    """All numbers of x32 have the bit that tells them from x86_64's, which have it not."""
    assert all(number & 0x40000000 for number in numbers("x32").values())
    assert not any(number & 0x40000000 for number in numbers("x86_64").values())
