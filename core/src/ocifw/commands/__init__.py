"""The verbs of the command line, one module each.

A module has SUMMARY, USAGE and DESCRIPTION for its help; OPTIONS, the table of its options; ARGUMENTS, the least and the most
arguments; and `run(globals_, options, arguments)`, which returns the exit status (None is 0). It may have REST = True: the
first argument ends the options; FAILURE, put before the message of an error, and FAILURE_STATUS; `help_status()`, the exit
status of `--help`. Options that several verbs have are in `common`.
"""

from __future__ import annotations

VERBS = (
    "bundle",
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "explain",
    "features",
    "kill",
    "list",
    "pause",
    "plan",
    "plugin",
    "plugins",
    "profile",
    "ps",
    "render",
    "restore",
    "resume",
    "run",
    "sets",
    "spec",
    "start",
    "state",
    "update",
    "validate",
    "version",
)
