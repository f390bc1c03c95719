"""The package that a function worker runs: the functions and the kernel, as source, in one zip.

The same source gives the same bytes, so that a digest tells whether the code has changed. What the source
needs (the extras `functions` and `pulsar`) is the worker's Python environment's to have.
"""

import io
import zipfile
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

KERNEL_ONLY = {"cli", "local", "bench"}
"""Parts of `recpipe` that compose others and stay behind."""
SUFFIXES = (".py", ".avsc", ".lua")
EPOCH = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The zip. Nothing is compressed, as compressors differ between machines."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(_files()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return out.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    yield from _under(resources.files("recpipe"), "recpipe", KERNEL_ONLY)
    yield from _under(resources.files("recpipe_functions"), "recpipe_functions", set())


def _under(folder: Traversable, name: str, without: set[str]) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        path = f"{name}/{each.name}"
        if each.is_dir():
            if each.name not in without:
                yield from _under(each, path, set())
        elif each.name.endswith(SUFFIXES):
            yield path, each.read_bytes()
