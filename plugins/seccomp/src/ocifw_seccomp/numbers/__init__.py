"""The numbers of system calls, one module for each architecture, imported when that one is filtered."""
