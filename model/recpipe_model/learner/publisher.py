"""Model versions: exported by a process of its own, so that learning never waits for TensorFlow."""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from recpipe_model.version import items_in

log = logging.getLogger(__name__)

EXPORT_SECONDS = 600.0
ASIDE = ".export-"
"""Folders with the file that an export reads, among the checkpoints, and what it writes, among the versions."""


class PublishError(RuntimeError):
    """An export failed; the version before it stays."""


class Publisher:
    """Exports checkpoints as versions under a base path, one at a time, and drops the oldest but the named ones."""

    def __init__(self, models: Path, keep: int, named: Callable[[], set[int]] = set) -> None:
        self._models, self._keep, self._named = models, keep, named
        self._models.mkdir(parents=True, exist_ok=True)
        self._export: asyncio.Task[None] | None = None
        self._items = self._least_items(named())

    @property
    def version(self) -> int:
        """The newest published version; 0 where there is none."""
        return max(self.versions, default=0)

    @property
    def versions(self) -> tuple[int, ...]:
        """Oldest first."""
        return tuple(int(path.name) for path in self._versions())

    async def published(self) -> int:
        """The version under way, once it is there; raises PublishError where that failed."""
        before = self.version
        if self._export:
            await self._export
        if self.version == before:
            raise PublishError("no version was published; what the export says of it is above")
        return self.version

    @property
    def published_at(self) -> float:
        """When the newest version was published, in seconds since the Unix epoch; 0 where there is none."""
        versions = self._versions()
        return versions[-1].stat().st_mtime if versions else 0.0

    @property
    def items_in_newest(self) -> int:
        """Items that the newest version knows; 0 where there is none."""
        return max(map(items_in, self._versions()[-1:]), default=0)

    @property
    def items_in_served(self) -> int:
        """Items that every version knows from which answers may come: the newest two, and those that are named."""
        return min(self._items, self.items_in_newest)

    @property
    def busy(self) -> bool:
        return self._export is not None and not self._export.done()

    def publish(self, model_file: Path) -> None:
        """Starts to export a checkpoint's model as the next version; must not be called while busy."""
        # The checkpoint may be dropped while the export reads it: it reads a link of its own, beside the
        # checkpoints, for models may be on another volume.
        checkpoints = model_file.parent.parent
        _sweep(checkpoints)
        _sweep(self._models)
        own = Path(tempfile.mkdtemp(prefix=ASIDE, dir=checkpoints)) / model_file.name
        os.link(model_file, own)
        self._export = asyncio.create_task(self._run(own, self.version + 1))

    async def finish(self) -> None:
        """Ends an export under way; what it wrote aside is never served."""
        if self._export:
            self._export.cancel()
            await asyncio.gather(self._export, return_exceptions=True)

    async def _run(self, model_file: Path, version: int) -> None:
        command = [
            sys.executable,
            "-m",
            "recpipe_model.export",
            str(model_file),
            str(self._models),
            str(version),
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, preexec_fn=lambda: os.nice(19)
        )
        try:
            code = await asyncio.wait_for(process.wait(), EXPORT_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            await process.wait()
            raise
        finally:
            shutil.rmtree(model_file.parent)
        if code != 0:
            log.error("export of version %d ended with %d; the version before it stays", version, code)
            return
        log.info("published version %d", self.version)
        named = self._named()
        self._items = self._least_items(named)
        for old in self._versions()[: -self._keep]:
            if int(old.name) not in named:
                shutil.rmtree(old, ignore_errors=True)

    def _least_items(self, named: set[int]) -> int:
        """Of those versions, as of now; the newest but one is served until the newest is loaded."""
        versions = self._versions()
        served = [*versions[-2:], *(version for version in versions if int(version.name) in named)]
        return min(map(items_in, served), default=0)

    def _versions(self) -> list[Path]:
        complete = (path for path in self._models.iterdir() if path.name.isdigit())
        return sorted(complete, key=lambda path: int(path.name))


def _sweep(folder: Path) -> None:
    """Drops what processes that were killed left; another that lives may be exporting too."""
    for left in folder.glob(f"{ASIDE}*"):
        if time.time() - left.stat().st_mtime > 2 * EXPORT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
