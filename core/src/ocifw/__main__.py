"""`ocifw` and `python -m ocifw`.

The command `ocifw` (native/entry.c) starts this file as a script, isolated and without `site`, with the name under which
it was called as the first argument.
"""

from __future__ import annotations

import os
import sys

if not __package__:
    # Appended, so that nothing that is installed beside ocifw can stand for a module of the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def start() -> int:
    """Run the command line of this process. Returns the exit status."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # Closed by the caller: the next file that is opened would become the container's standard input or output.
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)
    from ocifw.cli import main

    words = sys.argv[1:]
    name = "ocifw" if __package__ else os.path.basename(words.pop(0) if words else "ocifw")
    return main(words, name)


if __name__ == "__main__":
    status = start()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass
    # Not sys.exit: taking the interpreter down would cost a millisecond, and everything that matters is closed.
    os._exit(status)
