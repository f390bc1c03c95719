"""etcd, the API server and the controllers; for `api` on loopback, for a node on its address."""

import json
import ssl
import urllib.request

from kube.binaries import BIN
from kube.pki import Authority
from kube.processes import ClusterError, Home, run

LOOPBACK = "127.0.0.1"
START_SECONDS = 120.0
STOP_ORDER = ("kwok", "scheduler", "controllers", "apiserver", "etcd")
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"  # the first of the range
POD_RANGE = "10.244.0.0/16"

# Who asked for what, without bodies: enough to see which permissions are used.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "users": ["system:apiserver"]}, {"level": "Metadata"}],
}
FAKE_NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "fake",
        "annotations": {"kwok.x-k8s.io/node": "fake"},
        "labels": {"type": "kwok", "kubernetes.io/hostname": "fake"},
    },
    "status": {
        "allocatable": {"cpu": "1000", "memory": "1Ti", "pods": "10000"},
        "capacity": {"cpu": "1000", "memory": "1Ti", "pods": "10000"},
    },
}


def api(home: Home, fresh: bool, fake_node: bool) -> None:
    """An API server that does everything but run containers."""
    if fresh:
        down(home)
    home.make(fresh)
    start(home, LOOPBACK, scheduler=fake_node)
    if fake_node:
        kubectl(home, "apply", "-f", "-", text=json.dumps(FAKE_NODE))
        kwok = {
            "kubeconfig": home.kubeconfig,
            "manage-all-nodes": "false",
            "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
        }
        home.start("kwok", BIN / "kwok", kwok)


def start(home: Home, host: str, *, scheduler: bool) -> None:
    """Starts what does not run yet, and waits until objects can be made in the default namespace."""
    ports = home.ports("api", "etcd", "etcd_peers")
    pki = Authority.of(home)
    pki.make()
    alternatives = [f"IP:{address}" for address in sorted({host, LOOPBACK, API_SERVICE})]
    pki.sign("apiserver", "/CN=kube-apiserver", *alternatives, "DNS:localhost", "DNS:kubernetes.default.svc")
    pki.sign("admin", "/O=system:masters/CN=admin")
    server = f"https://{host}:{ports['api']}"
    pki.kubeconfig(home.kubeconfig, server, "admin")
    home.path("audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    clients = f"http://127.0.0.1:{ports['etcd']}"
    peers = f"http://127.0.0.1:{ports['etcd_peers']}"
    etcd = {
        "name": "etcd",
        "data-dir": home.path("etcd"),
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"etcd={peers}",
    }
    home.start("etcd", "etcd", etcd)
    apiserver = {
        "etcd-servers": clients,
        "bind-address": host,
        "secure-port": ports["api"],
        "advertise-address": host,
        # The Service `kubernetes` may not lead to loopback: there it has no endpoints.
        "endpoint-reconciler-type": "none" if host == LOOPBACK else "lease",
        "tls-cert-file": pki.file("apiserver.crt"),
        "tls-private-key-file": pki.file("apiserver.key"),
        "client-ca-file": pki.file("ca.crt"),
        "kubelet-client-certificate": pki.file("admin.crt"),
        "kubelet-client-key": pki.file("admin.key"),
        "kubelet-certificate-authority": pki.file("ca.crt"),
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-key-file": pki.file("sa.pub"),
        "service-account-signing-key-file": pki.file("sa.key"),
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-cluster-ip-range": SERVICE_RANGE,
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "shutdown-delay-duration": "0s",
        # Debian's etcd 3.4 cannot report progress, without which clients that stream lists hang.
        "feature-gates": "WatchList=false",
        # Some clusters hold owners to it (OpenShift does): what works here works there.
        "enable-admission-plugins": "OwnerReferencesPermissionEnforcement",
        "audit-policy-file": home.path("audit-policy.json"),
        "audit-log-path": home.path("log", "audit.jsonl"),
        "audit-log-maxsize": 200,
    }
    home.start("apiserver", BIN / "kube-apiserver", apiserver)
    home.wait(lambda: ready(home), START_SECONDS, "the API server", by="apiserver")
    controllers = {
        "kubeconfig": home.kubeconfig,
        "service-account-private-key-file": pki.file("sa.key"),
        "root-ca-file": pki.file("ca.crt"),
        "use-service-account-credentials": "true",
        "allocate-node-cidrs": "true",
        "cluster-cidr": POD_RANGE,
    }
    if (
        scheduler and host == LOOPBACK
    ):  # the fake node has no lease, and would be taken for dead twice a minute
        controllers["node-monitor-grace-period"] = "24h"
    alone = {"leader-elect": "false", "secure-port": 0}
    home.start("controllers", BIN / "kube-controller-manager", controllers | alone)
    if scheduler:
        home.start("scheduler", BIN / "kube-scheduler", {"kubeconfig": home.kubeconfig} | alone)
    # Without this account no pod is admitted.
    account = ("get", "serviceaccount", "default", "-n", "default")
    home.wait(
        lambda: succeeds(home, *account), START_SECONDS, "the default service account", by="controllers"
    )


def ready(home: Home) -> bool:
    """Whether the API server says that it is ready, to the administrator."""
    config = json.loads(home.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    context.load_cert_chain(user["client-certificate"], user["client-key"])
    try:
        with urllib.request.urlopen(f"{cluster['server']}/readyz", timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def kubectl(home: Home, *arguments: str, text: str | None = None) -> str:
    return run([str(BIN / "kubectl"), f"--kubeconfig={home.kubeconfig}", *arguments], 120, input=text)


def succeeds(home: Home, *arguments: str) -> bool:
    try:
        kubectl(home, *arguments)
    except ClusterError:
        return False
    return True


def down(home: Home) -> None:
    for name in STOP_ORDER:
        home.stop(name)
