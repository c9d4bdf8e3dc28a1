"""The controllers, one file each: what of linux.resources they limit, on cgroup v1 and v2, and what they count.

Each has, as far as the controller exists there,

* `v1(value)`, `v2(value)`: the writes for its part of linux.resources. Zeros mean unset, as engines send them.
* `problems(value, version)`: what is wrong with it, as pairs of path below linux.resources and message.
* `stats_v1(folder)`, `stats_v2(folder)`: its figures for `events`, in runc's form.

They are imported when their part of linux.resources is set: most containers need few of them.
"""
