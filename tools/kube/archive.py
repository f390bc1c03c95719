"""Image archives in Docker's format (`docker load`, `ctr images import`), with the standard library alone."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def pack(folder: Path, tag: str, target: Path, entrypoint: Sequence[str] = ()) -> None:
    """One root file system as an image of one layer."""
    layer = target.with_suffix(".layer")
    tar(folder, layer)
    write(target, tag, [layer], {"Entrypoint": list(entrypoint)} if entrypoint else {})
    layer.unlink()


def tar(folder: Path, layer: Path, *, within: str = ".") -> None:
    """A layer with what is in a folder; the same content gives the same bytes."""
    layer.parent.mkdir(parents=True, exist_ok=True)
    same = ["--sort=name", "--mtime=@0", "--numeric-owner", "--owner=0", "--group=0", "--format=posix"]
    same.append("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
    subprocess.run(["tar", *same, "-C", str(folder), "-cf", str(layer), within], check=True)


def write(target: Path, tag: str, layers: Sequence[Path], config: Mapping[str, Any]) -> None:
    """An archive of an image from uncompressed layers; `config` as in the OCI image specification."""
    digests = [_digest(layer) for layer in layers]
    document = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    text = json.dumps(document, sort_keys=True).encode()
    name = f"{hashlib.sha256(text).hexdigest()}.json"
    inside = [f"{digest}/layer.tar" for digest in digests]
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": inside}]).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as archive:
        for each, content in ((name, text), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(each)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for layer, path in zip(layers, inside, strict=True):
            archive.add(layer, path)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
