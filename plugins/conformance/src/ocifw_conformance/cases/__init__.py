"""The cases, in the order of the specification's files: importing this fills `case.CASES`."""

from . import lifecycle, hooks, config, process, namespaces, devices, cgroups, seccomp, paths  # noqa: F401, I001
