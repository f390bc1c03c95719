"""A node that runs containers: containerd, kubelet, kube-proxy, and CoreDNS inside."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from kube import archive, control_plane, machine
from kube.binaries import BIN, NODE_PACKAGES, packages
from kube.control_plane import POD_RANGE, kubectl, succeeds
from kube.pki import Authority
from kube.processes import ClusterError, Home, living, run, wait

NAME = "node"
NODE_PODS = "10.244.0.0/24"
BRIDGES = "recpipe"
DNS_SERVICE = "10.96.0.10"
PAUSE = "localhost/pause:1"
COREDNS = "localhost/coredns:1"
START_SECONDS = 120.0
VOLUMES = 24


def up(home: Home, fresh: bool) -> None:
    """Starts what does not run yet; waits until the node is ready and names resolve."""
    check(home)
    for bridge in _abandoned() - {_bridge(home)}:
        _unplug(bridge)
    if fresh:
        down(home)
        shutil.rmtree(home.folder, ignore_errors=True)
    home.make(fresh=False)
    address = machine.address([_bridge(home)])
    control_plane.start(home, address, scheduler=True)
    pki = Authority.of(home)
    pki.sign(NAME, f"/O=system:nodes/CN=system:node:{NAME}", f"DNS:{NAME}", f"IP:{address}")
    server = json.loads(home.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    pki.kubeconfig(home.path("node.kubeconfig"), server, NAME)
    _containerd(home)
    for name, tag in (("pause", PAUSE), ("coredns", COREDNS)):
        _tool_image(home, name, tag)
    _kubelet(home, pki, address)
    proxy = {
        "kubeconfig": home.kubeconfig,
        "hostname-override": NAME,
        "cluster-cidr": POD_RANGE,
        "proxy-mode": "iptables",
        # Where these settings of the kernel may not be written, kube-proxy would end.
        "conntrack-max-per-core": 0,
        "conntrack-tcp-timeout-established": "0s",
        "conntrack-tcp-timeout-close-wait": "0s",
    }
    home.start("proxy", BIN / "kube-proxy", proxy)
    kubectl(home, "apply", "-f", str(Path(__file__).with_name("coredns.yaml")))
    home.wait(lambda: succeeds(home, "get", "node", NAME), START_SECONDS, "the node", by="kubelet")
    kubectl(home, "apply", "-f", "-", text=json.dumps(_storage(home)))
    kubectl(home, "wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=90s")
    kubectl(home, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s")


def check(home: Home) -> None:
    """Raises ClusterError with everything that this machine lacks."""
    packages(NODE_PACKAGES)
    if lacking := machine.lacks(home, {_bridge(home), *_abandoned()}, NODE_PODS):
        raise ClusterError("\n  ".join(["this machine cannot be a node; it lacks", *lacking]))


def _bridge(home: Home) -> str:
    """Of this home alone: another's must not go down with it."""
    return f"{BRIDGES}{hashlib.sha256(str(home.folder).encode()).hexdigest()[:6]}"


def _abandoned() -> set[str]:
    """Bridges of nodes that were killed instead of brought down."""
    there = json.loads(run(["ip", "-json", "link", "show", "type", "bridge"]))
    ours = {each["ifname"] for each in there if each.get("ifname", "").startswith(BRIDGES)}
    return ours - {_bridge(Home(folder)) for folder in living()}


def _storage(home: Home) -> dict[str, object]:
    """Volumes made ahead, which claims are bound to: folders that any user of a pod may write."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    volumes = []
    for number in range(VOLUMES):
        folder = home.path("volumes", str(number))
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        volumes.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"local-{number}"},
                "spec": {
                    "capacity": {"storage": "10Gi"},
                    "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "local",
                    "hostPath": {"path": str(folder)},
                },
            }
        )
    return {"apiVersion": "v1", "kind": "List", "items": [storage_class, *volumes]}


def socket(home: Home) -> Path:
    return home.path("containerd.sock")


def _containerd(home: Home) -> None:
    network = {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": _bridge(home),
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": NODE_PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(home.path("cni-leases")),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    home.path("cni").mkdir(exist_ok=True)
    home.path("cni", "pods.conflist").write_text(json.dumps(network))
    # restrict_oom_score_adj: in a container or sandbox the score may not be lowered, and runc would end with
    # "can't get final child's PID from pipe: EOF".
    home.path("containerd.toml").write_text(
        f"""version = 2
root = "{home.path("containerd")}"
state = "{home.path("containerd-state")}"
[grpc]
  address = "{socket(home)}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home.path("cni")}"
"""
    )
    home.start("containerd", "containerd", {"config": home.path("containerd.toml")})
    home.wait(lambda: _answers(home), START_SECONDS, "containerd", by="containerd")


def _answers(home: Home) -> bool:
    try:
        _ctr(home, "version")
    except ClusterError:
        return False
    return True


def _ctr(home: Home, *arguments: str) -> str:
    return run(["ctr", "--address", str(socket(home)), "--namespace", "k8s.io", *arguments])


def _tool_image(home: Home, name: str, tag: str) -> None:
    """A compiled tool alone in an image; it is kept until the tool changes."""
    target = home.path("images", f"{name}.tar")
    if not target.exists() or target.stat().st_mtime < (BIN / name).stat().st_mtime:
        root = home.path("images", name)
        root.mkdir(exist_ok=True)
        shutil.copy2(BIN / name, root / name)
        archive.pack(root, tag, target, [f"/{name}"])
        shutil.rmtree(root)
    load(home, target)


def load(home: Home, image: Path) -> None:
    """Imports an image archive into the node."""
    if not _answers(home):
        raise ClusterError(f"no node runs in {home.folder}: run `up` first")
    _ctr(home, "images", "import", str(image))


def _kubelet(home: Home, pki: Authority, address: str) -> None:
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # hosts with cgroup v1 still exist; 1.34 refuses them otherwise
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{socket(home)}",
        "authentication": {
            "anonymous": {"enabled": False},
            "x509": {"clientCAFile": pki.file("ca.crt")},
            "webhook": {"enabled": True},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "podCIDR": NODE_PODS,
        "tlsCertFile": pki.file(f"{NAME}.crt"),
        "tlsPrivateKeyFile": pki.file(f"{NAME}.key"),
        "resolvConf": "/dev/null",
        "maxPods": 200,
        "serializeImagePulls": False,
        # Images come from `load` alone, so none may be collected and no full disk may evict.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    home.path("kubelet.json").write_text(json.dumps(settings))
    kubelet = {
        "config": home.path("kubelet.json"),
        "kubeconfig": home.path("node.kubeconfig"),
        "hostname-override": NAME,
        "root-dir": home.path("kubelet"),
        "node-ip": address,
    }
    home.start("kubelet", BIN / "kubelet", kubelet)


def down(home: Home) -> None:
    """Pods first, so that no container outlives its runtime; then the processes, the API server last."""
    if home.pid("kubelet") and home.kubeconfig.exists():
        kinds = "deployments,statefulsets,daemonsets,jobs,cronjobs,replicasets,pods"
        succeeds(home, "delete", kinds, "-A", "--all", "--grace-period=1", "--timeout=60s")
    if home.pid("containerd"):
        _end_containers(home)
    for name in ("kubelet", "proxy", "containerd"):
        home.stop(name)
    control_plane.down(home)
    if home.path("cni").exists() and not home.running():  # it was a node
        _unplug(_bridge(home))
    _unmount(home)


def _end_containers(home: Home) -> None:
    """What the kubelet did not end in time."""
    home.stop("kubelet")  # it would start them again
    try:
        for task in _ctr(home, "tasks", "list", "--quiet").split():
            _ctr(home, "tasks", "kill", "--signal", "SIGKILL", task)
        wait(lambda: not _running(home), 20, "the end of containers")
    except ClusterError:
        return


def _running(home: Home) -> bool:
    return any(line.split()[-1] == "RUNNING" for line in _ctr(home, "tasks", "list").splitlines()[1:])


def _unplug(bridge: str) -> None:
    """Ends of pods that were killed still answer for their addresses, which others are given next."""
    if subprocess.run(["ip", "link", "show", bridge], check=False, capture_output=True).returncode:
        return
    for each in json.loads(run(["ip", "-json", "link", "show", "master", bridge])):
        subprocess.run(["ip", "link", "delete", each["ifname"]], check=False, capture_output=True)
    run(["ip", "link", "delete", bridge])


def _unmount(home: Home) -> None:
    """Volumes and root file systems that are still mounted keep a home from being removed."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((each for each in mounted if each.startswith(f"{home.folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
