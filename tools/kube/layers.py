"""Layers of images: what one step adds to a Debian tree, by an overlay mount; kept until its inputs change."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kube import archive
from kube.processes import run

CACHE = Path(os.environ.get("RECPIPE_IMAGES_CACHE", Path.home() / ".cache" / "recpipe" / "images"))
BUILD_SECONDS = 1_800
# What the machine needs to reach package registries, lent to builds and kept out of images.
LENT = ["/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"]
# Of a step's work, or documentation of packages.
LEFTOVERS = ["tmp", "root", "run", "source", "var/cache", "var/log", "var/lib/apt/lists"]
LEFTOVERS += [f"usr/share/{name}" for name in ("doc", "man", "locale")]
VARIABLES = [
    "PIP_CERT",
    "SSL_CERT_FILE",
    "PIP_INDEX_URL",
    "UV_INDEX_URL",
    "http_proxy",
    "https_proxy",
    "no_proxy",
]


KEPT = 10
"""Layers of a kind: a change makes one of each role at most, and there are five."""


def drop_old() -> None:
    """Layers that were not used lately."""
    kinds = defaultdict[str, list[Path]](list)
    for tar in sorted((CACHE / "layers").glob("*.tar"), key=lambda each: each.stat().st_mtime, reverse=True):
        kinds[tar.stem.rpartition("-")[0]].append(tar)
    for tars in kinds.values():
        for tar in tars[KEPT:]:
            tar.unlink()
            shutil.rmtree(tar.with_suffix(""))


class Layer:
    """What one step adds to the layers under it; named by everything that it is made of.

    Args:
        under: layers of the image, the lowest first.
        below: layers that are there only while this one is made.
    """

    def __init__(
        self, name: str, under: list["Layer"], made_of: list[str], below: list["Layer"] | None = None
    ) -> None:
        self._lower = [*under, *(below or [])]
        inputs = [name, *made_of, *(layer.folder.name for layer in under)]
        digest = hashlib.sha256("\n".join(inputs).encode()).hexdigest()[:12]
        self.folder = CACHE / "layers" / f"{name}-{digest}"
        self.tar = CACHE / "layers" / f"{name}-{digest}.tar"

    def made(self, make: Callable[[Path], None]) -> "Layer":
        """Runs `make` on the merged tree, unless the layer is there; what it wrote is the layer."""
        if self.tar.exists():
            os.utime(self.tar)
            return self
        print(f"making {self.folder.name}", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        with self._merged() as root:
            make(root)
        for leftover in LEFTOVERS if self._lower else ():
            shutil.rmtree(self.folder / leftover, ignore_errors=True)
        beside = self.tar.with_suffix(".new")
        archive.tar(self.folder, beside)
        beside.rename(self.tar)
        return self

    @contextmanager
    def _merged(self) -> Iterator[Path]:
        if not self._lower:
            yield self.folder
            return
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            work, root = Path(scratch, "work"), Path(scratch, "root")
            work.mkdir()
            root.mkdir()
            lower = ":".join(str(layer.folder) for layer in reversed(self._lower))
            options = f"lowerdir={lower},upperdir={self.folder},workdir={work}"
            run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)])
            try:
                yield root
            finally:
                run(["umount", str(root)])


@contextmanager
def lent(root: Path) -> Iterator[None]:
    """The machine's way to registries, /proc, and a cache of wheels, for as long as a build runs."""
    cache = CACHE / "wheels"
    cache.mkdir(parents=True, exist_ok=True)
    binds = [(Path(each), root / each.lstrip("/")) for each in LENT if Path(each).exists()]
    binds.append((cache, root / "root" / ".cache"))
    with ExitStack() as mounted:
        made = []
        for source, target in binds:
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.mkdir() if source.is_dir() else target.touch()
                made.append(target)
            run(["mount", "--bind", str(source), str(target)])
            mounted.callback(run, ["umount", str(target)])
        run(["mount", "-t", "proc", "proc", str(root / "proc")])
        mounted.callback(run, ["umount", str(root / "proc")])
        yield
    for target in made:
        target.rmdir() if target.is_dir() else target.unlink()


def chroot(root: Path, command: str) -> None:
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    environment |= {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    environment |= {
        "DEBIAN_FRONTEND": "noninteractive",
        "LC_ALL": "C.UTF-8",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    run(["chroot", str(root), "sh", "-ec", command], BUILD_SECONDS, env=environment)
