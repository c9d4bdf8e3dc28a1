"""A config that asks for much: 100 mounts, 500 seccomp rules, 64 devices, 30 sysctls; in pairs, as in `verbs`.

`python3 bench/heavy.py --rounds N` measures and prints the table without writing any file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import machine
import verbs

if TYPE_CHECKING:
    from typing import Any

MOUNTS, RULES, DEVICES, SYSCTLS = 100, 500, 64, 30
NAME = f"{MOUNTS} mounts, {RULES} seccomp rules, {DEVICES} devices, {SYSCTLS} sysctls"
VERBS = ("run", "create")

# Of the container's own network and ipc namespaces: what is written there, nobody else sees.
_NETWORK = (
    "ip_forward", "ip_default_ttl", "ip_no_pmtu_disc", "ip_nonlocal_bind", "ip_dynaddr", "tcp_keepalive_time",
    "tcp_keepalive_intvl", "tcp_keepalive_probes", "tcp_retries1", "tcp_retries2", "tcp_orphan_retries", "tcp_fin_timeout",
    "tcp_syn_retries", "tcp_synack_retries", "tcp_tw_reuse", "tcp_sack", "tcp_timestamps", "tcp_window_scaling", "tcp_ecn",
    "tcp_reordering", "tcp_mtu_probing", "tcp_fastopen", "tcp_slow_start_after_idle",
)  # fmt: skip
_IPC = {
    "kernel.msgmax": "8192", "kernel.msgmnb": "16384", "kernel.msgmni": "32000", "kernel.shmmni": "4096",
    "kernel.shmmax": "1073741824", "kernel.shmall": "2097152", "kernel.sem": "250 32000 32 128", "fs.mqueue.msg_max": "10",
}  # fmt: skip


def measure(runtimes: dict[str, str], folder: Path, rounds: int) -> verbs.Times:
    """Seconds of `run` and `create` by runtime, in pairs and in random order.

    runtimes: paths by name. folder: an empty one, or of other measurements; the state and the bundle are made in it.
    """
    source = folder / "heavy-source"
    source.mkdir()
    bundle = verbs.make_bundle(folder / "heavy", [lambda config: make_heavy(config, source)])
    for number in range(MOUNTS):
        (bundle / f"rootfs/mnt/{number}").mkdir(parents=True)
    times: verbs.Times = {name: {verb: [] for verb in VERBS} for name in runtimes}
    with verbs.cgroup_parent() as cgroup:
        for number in range(-2, rounds):  # the first rounds fill caches
            for name in verbs.shuffled(runtimes):
                root = folder / f"root-{name}"
                life = verbs.Life(runtimes[name], root, bundle, f"{name}-{number}", cgroup)
                try:
                    seconds = life.measure()
                except BaseException:
                    life.clean()
                    raise
                for verb in VERBS if number >= 0 else ():
                    times[name][verb].append(seconds[verb])
    return times


def make_heavy(config: dict[str, Any], source: Path) -> None:
    """Let a config of `runc spec` ask for much. source: what is mounted."""
    linux = config["linux"]
    usual = len(config["mounts"])
    config["mounts"] += [
        {
            "destination": f"/mnt/{number}",
            "type": "bind",
            "source": str(source),
            "options": ["bind"] + ["ro", "nosuid", "nodev"] * (number % 2),
        }
        for number in range(MOUNTS - usual)
    ]
    linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules(),
    }
    linux["devices"] = [
        {
            "path": f"/dev/heavy/{number}",
            "type": "c",
            "major": 240,
            "minor": number,
            "fileMode": 0o660,
            "uid": 0,
            "gid": 0,
        }
        for number in range(DEVICES)
    ]
    linux["resources"]["devices"] = [
        *linux["resources"].get("devices", ()),
        {"allow": True, "type": "c", "major": 240, "access": "rw"},
    ]
    linux["sysctl"] = sysctls()


def rules() -> list[dict[str, Any]]:
    """Rules with a condition each, over the calls of Docker's profile in turn: none of them ever applies to busybox."""
    profile = json.loads(verbs.DOCKER_PROFILE.read_text())
    names = sorted({name for rule in profile["syscalls"] for name in rule["names"]})[:250]
    return [
        {
            "names": [names[number % len(names)]],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "args": [{"index": 5, "value": 0x7EED_0000 + number, "op": "SCMP_CMP_EQ"}],
        }
        for number in range(RULES)
    ]


def sysctls() -> dict[str, str]:
    """Parameters of the network and ipc namespaces, with values that this kernel has for them."""
    found = {}
    for name in _NETWORK:
        path = Path(f"/proc/sys/net/ipv4/{name}")
        if path.exists():
            found[f"net.ipv4.{name}"] = path.read_text().strip()
    return dict([*_IPC.items(), *found.items()][:SYSCTLS])


def table(times: verbs.Times) -> list[str]:
    """Lines of Markdown: milliseconds, and the ratios of pairs."""
    return verbs.verbs_table(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="ocifw,native,runc,crun")
    options = parser.parse_args()
    verbs.prepare()
    runtimes = verbs.find_runtimes(options.only.split(","))
    with tempfile.TemporaryDirectory(prefix="ocifw-bench-") as folder:
        times = measure(runtimes, Path(folder), options.rounds)
    print("\n".join([*machine.describe(runtimes), "", NAME, "", *table(times)]))


if __name__ == "__main__":
    main()
