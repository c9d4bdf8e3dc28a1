"""A guide as what it has in it: files, and commands with the output that it shows for them."""

from __future__ import annotations

import doctest
import re

BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PROMPTS = ("$", "#")
"""Of whom works in the checkout, and of root on the machine that the packages are for."""


def parts(text):
    """The files and commands, in order: ("file", path, content), or prompt, command and expected output."""
    for block in BLOCK.finditer(text):
        if block["file"]:
            yield "file", block["file"], block["text"]
        else:
            commands = re.split(r"^([$#]) ", block["text"], flags=re.MULTILINE)[1:]
            for prompt, command in zip(commands[::2], commands[1::2], strict=True):
                line, _, output = command.partition("\n")
                yield prompt, line, output


def unused(text):
    """Blocks that are neither a file nor begin with a prompt, and fences that belong to no block."""
    blocks = list(BLOCK.finditer(text))
    odd = [b["text"] for b in blocks if not b["file"] and not b["text"].startswith(("$ ", "# "))]
    return odd + ["```"] * (text.count("```") - 2 * len(blocks))


def differs(expected, found):
    """ "" when a command's output is as shown, where ... stands for anything; else both. Times of the log are left out."""
    found = re.sub(r'^time="[^"]*"', 'time="..."', found, flags=re.MULTILINE)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if doctest.OutputChecker().check_output(expected, found, flags):
        return ""
    return f"--- expected\n{expected}--- found\n{found}"
