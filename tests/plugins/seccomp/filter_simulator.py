"""The kernel's side of a seccomp filter, in Python: what a program returns for a system call."""

from __future__ import annotations

import struct

Program = list[tuple[int, int, int, int]]


def load(program: bytes) -> Program:
    """The instructions of an array of struct sock_filter, loads with the index of the word instead of its offset."""
    assert len(program) % 8 == 0
    return [
        (code, true, false, value // 4 if code == 0x20 else value)
        for code, true, false, value in struct.iter_unpack("<HBBI", program)
    ]


def seccomp_data(token: int, number: int, arguments: tuple[int, ...] = (0,) * 6) -> tuple[int, ...]:
    """struct seccomp_data as 16 words."""
    return struct.unpack("<16I", struct.pack("<IIQ6Q", number, token, 0, *arguments))


def run(program: Program, data: tuple[int, ...]) -> int:
    """What the program returns. Raises AssertionError on an instruction that the kernel would refuse."""
    accumulator = 0
    place = 0
    while True:
        code, true, false, value = program[place]
        place += 1
        if code == 0x35:
            place += true if accumulator >= value else false
        elif code == 0x15:
            place += true if accumulator == value else false
        elif code == 0x20:
            accumulator = data[value]
        elif code == 0x06:
            return value
        elif code == 0x25:
            place += true if accumulator > value else false
        elif code == 0x05:
            place += value
        elif code == 0x54:
            accumulator &= value
        elif code == 0x45:
            place += true if accumulator & value else false
        else:
            raise AssertionError(f"instruction {place - 1} has the code {code:#x}")
