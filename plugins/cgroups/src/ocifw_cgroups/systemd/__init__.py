"""Cgroups made by systemd: `--systemd-cgroup`. Imported only then.

A container is a transient scope (or slice) of systemd: `names` says which, `properties` which limits it is given, `steps`
makes and stops it, and `bus` speaks with systemd. Whatever systemd does not know is written to the files afterwards.
"""
