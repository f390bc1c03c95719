"""Whether a machine can be a node: each thing that a node does is tried, and what fails is named."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from kube.processes import ClusterError, Home, run

DISK_BYTES, MEMORY_BYTES = 12e9, 5e9
CONTROLLERS = ("cpu", "memory", "pids")
CGROUPS = Path("/sys/fs/cgroup")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
PROBE = "recpipe-probe"


def lacks(home: Home, bridges: Collection[str], pods: str) -> list[str]:
    """What a node needs and this machine has not; with what the machine said.

    Args:
        bridges: interfaces that may have addresses in the range of the pods.
        pods: their range.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return ["Linux and root: a node mounts file systems and makes network interfaces"]
    home.folder.mkdir(parents=True, exist_ok=True)
    needed: dict[str, Callable[[], object]] = {
        "file systems of containers (overlayfs)": lambda: _overlay(home.folder),
        "namespaces (unshare)": lambda: run(["unshare", "--mount", "--pid", "--net", "--fork", "true"], 20),
        "interfaces of pods (bridge, veth)": _interfaces,
        "rules of Services (iptables: nat, comment, statistic)": _rules,
        "forwarding between pods (net.ipv4.ip_forward)": _forwarding,
        f"limits of containers (cgroup controllers {', '.join(CONTROLLERS)})": _controllers,
        "an address of its own": lambda: address(bridges),
        f"the range {pods} for pods": lambda: _free(pods, bridges),
        f"{DISK_BYTES / 1e9:.0f} GB of disk for images": lambda: _disk(home.folder),
        f"{MEMORY_BYTES / 1e9:.0f} GB of memory": _memory,
    }
    found = []
    for what, probe in needed.items():
        try:
            probe()
        except (ClusterError, OSError) as error:
            found.append(f"{what}: {error}")
    return found


def address(bridges: Collection[str]) -> str:
    """This machine's own: that of a node may not be loopback."""
    for interface in _addresses():
        if interface["ifname"] not in bridges:
            for each in interface["addr_info"]:
                if each.get("scope") == "global" and "local" in each:
                    return str(each["local"])
    raise ClusterError("no network interface has a global IPv4 address")


def _addresses() -> list[dict[str, list[dict[str, str]]]]:
    found: list[dict[str, list[dict[str, str]]]] = json.loads(run(["ip", "-json", "-4", "address", "show"]))
    return [each for each in found if each.get("ifname")]


def _free(pods: str, bridges: Collection[str]) -> None:
    taken = f"{pods.rpartition('.')[0]}."
    for interface in _addresses():
        if interface["ifname"] not in bridges and any(
            each.get("local", "").startswith(taken) for each in interface["addr_info"]
        ):
            raise ClusterError(
                f"{interface['ifname']} has it; `down` the other node, or delete that interface"
            )


def _overlay(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as name:
        lower, upper, work, root = (Path(name, each) for each in ("lower", "upper", "work", "root"))
        for each in (lower, upper, work, root):
            each.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)])
        run(["umount", str(root)])


def _interfaces() -> None:
    kinds = {"rp-probe0": ["bridge"], "rp-probe1": ["veth", "peer", "name", "rp-probe2"]}
    for name, kind in kinds.items():
        run(["ip", "link", "add", name, "type", *kind])
        run(["ip", "link", "delete", name])


def _rules() -> None:
    table = ["iptables", "--wait", "20", "--table", "nat"]
    run([*table, "--new-chain", PROBE])
    try:
        matches = ["comment", "--comment", PROBE, "--match", "statistic", "--mode", "random", "--probability"]
        run([*table, "--append", PROBE, "--match", *matches, "0.5", "--jump", "RETURN"])
    finally:
        run([*table, "--flush", PROBE])
        run([*table, "--delete-chain", PROBE])


def _forwarding() -> None:
    if FORWARDING.read_text().strip() != "1":
        FORWARDING.write_text("1")


def _controllers() -> None:
    if (CGROUPS / "cgroup.controllers").exists():
        missing = set(CONTROLLERS) - set((CGROUPS / "cgroup.controllers").read_text().split())
        folders = [CGROUPS]
    else:
        missing = {name for name in CONTROLLERS if not (CGROUPS / name).is_dir()}
        folders = [CGROUPS / name for name in CONTROLLERS if name not in missing]
    if missing:
        raise ClusterError(f"{CGROUPS} has no {', '.join(sorted(missing))}")
    for folder in folders:
        (folder / PROBE).mkdir()
        (folder / PROBE).rmdir()


def _disk(folder: Path) -> None:
    if (free := shutil.disk_usage(folder).free) < DISK_BYTES:
        raise ClusterError(f"{free / 1e9:.1f} GB are free in {folder}")


def _memory() -> None:
    if (there := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) < MEMORY_BYTES:
        raise ClusterError(f"it has {there / 1e9:.1f} GB")
