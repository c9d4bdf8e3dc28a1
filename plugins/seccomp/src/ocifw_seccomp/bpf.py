"""Classic BPF for seccomp (seccomp(2), linux/filter.h): a small assembler that writes programs from their end.

BPF jumps forward only, conditional jumps by at most 255 instructions. Writing backwards, the target of a jump is
always there already; when it is too far away, a nearer copy (of a return) or a long jump is put in first.
"""

from __future__ import annotations

from _struct import pack

from ocifw.errors import PlanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .profile import Condition

MAXIMUM_INSTRUCTIONS = 4096

# Offsets in struct seccomp_data. Both kinds of machines that we know are little-endian: the low half comes first.
NUMBER = 0
ARCHITECTURE = 4
ARGUMENTS = 16

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
GREATER_EQUAL = 0x35  # BPF_JMP | BPF_JGE | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

_REACH = 255
_LOW = 0xFFFFFFFF


class Assembler:
    """A program that grows towards its beginning.

    Places are the number of instructions that follow, counted from the program's end: each method adds instructions in
    front and returns the place of the first.
    """

    def __init__(self) -> None:
        self._backwards: list[int] = []
        self._returns: dict[int, int] = {}

    def returns(self, action: int) -> int:
        """A place that returns `action`, near enough to be jumped to from the next instructions."""
        place = self._returns.get(action)
        if place is None or len(self._backwards) - place > _REACH - 16:
            place = self._returns[action] = self._add(RETURN, 0, 0, action)
        return place

    def load(self, offset: int) -> int:
        """Load the 32 bits at `offset` of struct seccomp_data, and go on with what comes next."""
        return self._add(LOAD, 0, 0, offset)

    def branch(self, operation: int, value: int, then: int, otherwise: int) -> int:
        """Go to `then` when the loaded number compares to `value`, else to `otherwise`."""
        if then == otherwise:
            return self.near(then)
        # Each of the two may need a long jump, the second of which moves the first one place away.
        here = len(self._backwards) - 1
        if here - then >= _REACH or here - otherwise >= _REACH:
            then = self._within(then, _REACH - 1)
            otherwise = self._within(otherwise, _REACH)
            here = len(self._backwards) - 1
        return self._add(operation, here - then, here - otherwise, value)

    def near(self, place: int) -> int:
        """`place`, when it is the next instruction, else that of a jump to it."""
        here = len(self._backwards)
        return place if place == here - 1 else self._add(JUMP, 0, 0, here - place - 1)

    def condition(self, condition: Condition, wide: bool, then: int, otherwise: int) -> int:
        """Test an argument, 64 bits of it when `wide`."""
        index, operator, value, value_two = condition
        low_offset = ARGUMENTS + 8 * index
        if operator == "SCMP_CMP_MASKED_EQ":
            place = then
            for shift, offset in ((0, low_offset), (32, low_offset + 4)):
                mask = value >> shift & _LOW
                if mask and (wide or not shift):
                    self.branch(EQUAL, value_two >> shift & _LOW, place, otherwise)
                    if mask != _LOW:
                        self._add(AND, 0, 0, mask)
                    place = self.load(offset)
            return place
        if operator in ("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE"):
            then, otherwise = otherwise, then
        low, high = value & _LOW, value >> 32
        if operator in ("SCMP_CMP_EQ", "SCMP_CMP_NE"):
            return self.equal(index, high, wide, [(low, then)], otherwise)
        comparison = GREATER if operator in ("SCMP_CMP_GT", "SCMP_CMP_LE") else GREATER_EQUAL
        self.branch(comparison, low, then, otherwise)
        place = self.load(low_offset)
        if wide:
            place = self.branch(EQUAL, high, place, otherwise)
            self.branch(GREATER, high, then, place)
            place = self.load(low_offset + 4)
        return place

    def equal(
        self, index: int, high: int, wide: bool, cases: list[tuple[int, int]], otherwise: int
    ) -> int:
        """Compare an argument with numbers that have the same high half: cases are low halves and where each leads."""
        place = otherwise
        for low, then in reversed(cases):
            place = self.branch(EQUAL, low, then, place)
        place = self.load(ARGUMENTS + 8 * index)
        if wide:
            self.branch(EQUAL, high, place, otherwise)
            place = self.load(ARGUMENTS + 8 * index + 4)
        return place

    def program(self) -> bytes:
        """The whole program as an array of struct sock_filter. Raises PlanError when the kernel would refuse its length."""
        count = len(self._backwards)
        if count > MAXIMUM_INSTRUCTIONS:
            raise PlanError(
                f"linux.seccomp: the filter has {count} instructions, the kernel allows"
                f" {MAXIMUM_INSTRUCTIONS}: too many rules with conditions"
            )
        return pack(f"<{count}Q", *reversed(self._backwards))

    def _add(self, code: int, true: int, false: int, value: int) -> int:
        # struct sock_filter: u16 code, u8 jt, u8 jf, u32 k, as one little-endian number.
        self._backwards.append(code | true << 16 | false << 24 | value << 32)
        return len(self._backwards) - 1

    def _within(self, place: int, reach: int) -> int:
        """`place`, or that of a long jump to it when it is farther away than `reach` instructions."""
        here = len(self._backwards)
        return place if here - place - 1 <= reach else self._add(JUMP, 0, 0, here - place - 1)
