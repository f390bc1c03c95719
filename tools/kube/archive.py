"""Image archives in Docker's format (`docker load`, `ctr images import`), with the standard library alone."""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """A name, uncompressed layers (the lowest first), and a config as in the OCI image specification."""

    tag: str
    layers: Sequence[Path]
    config: Mapping[str, Any]


def pack(folder: Path, tag: str, target: Path, entrypoint: Sequence[str] = ()) -> None:
    """One root file system as an image of one layer."""
    layer = target.with_suffix(".layer")
    tar(folder, layer)
    write(target, [Image(tag, [layer], {"Entrypoint": list(entrypoint)} if entrypoint else {})])
    layer.unlink()


def tar(folder: Path, layer: Path, *, within: str = ".") -> None:
    """A layer with what is in a folder; the same content gives the same bytes."""
    layer.parent.mkdir(parents=True, exist_ok=True)
    same = ["--sort=name", "--mtime=@0", "--numeric-owner", "--owner=0", "--group=0", "--format=posix"]
    same.append("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime")
    subprocess.run(["tar", *same, "-C", str(folder), "-cf", str(layer), within], check=True)


def write(target: Path, images: Sequence[Image]) -> None:
    """One archive of all images; a layer that several have is in it once."""
    digests = {layer: _digest(layer) for image in images for layer in image.layers}
    configs = [_config(image, [digests[layer] for layer in image.layers]) for image in images]
    manifest = [
        {
            "Config": _name(config),
            "RepoTags": [image.tag],
            "Layers": [f"{digests[layer]}/layer.tar" for layer in image.layers],
        }
        for image, config in zip(images, configs, strict=True)
    ]
    texts = {_name(config): config for config in configs} | {"manifest.json": json.dumps(manifest).encode()}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w") as archive:
        for name, content in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for layer, digest in digests.items():
            archive.add(layer, f"{digest}/layer.tar")


def _config(image: Image, digests: Sequence[str]) -> bytes:
    document = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    return json.dumps(document, sort_keys=True).encode()


def _name(config: bytes) -> str:
    return f"{hashlib.sha256(config).hexdigest()}.json"


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
