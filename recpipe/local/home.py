"""The folder of a pipeline that runs on one machine: data, models, keys, logs, and where its parts listen."""

import json
import os
import secrets
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoints:
    """Where a running pipeline is reached."""

    pipeline: str
    gateway: str
    """http://host:port"""
    model: str
    """host:port of the TensorFlow Serving API (gRPC)."""
    model_rest: str
    store: str
    """redis:// or unix:// URL of the store and bus."""
    metrics: dict[str, str]
    """Prometheus pages by part."""
    pids: dict[str, int]


class NotRunningError(RuntimeError):
    """No pipeline runs from this folder."""


class Home:
    """Paths of one pipeline's folder; made private to the user."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @classmethod
    def of(cls, pipeline: str, folder: Path | None = None) -> "Home":
        return cls(folder or Path(os.environ.get("RECPIPE_HOME", ".recpipe")) / pipeline)

    def clear(self) -> None:
        """Removes everything an earlier run left; a no-op where there is nothing."""
        shutil.rmtree(self.path, ignore_errors=True)

    def create(self) -> None:
        for folder in (self.valkey, self.models, self.checkpoints, self.keys, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)
        for role in ("public", "private"):
            key = self.keys / role
            if not key.exists():
                key.touch(mode=0o600)
                # In hexadecimal: a key that began with "-" would be an option on a command line.
                key.write_text(secrets.token_hex(32))

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def models(self) -> Path:
        """Base path of model versions, as TensorFlow Serving has it."""
        return self.path / "models"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def pipeline(self) -> Path:
        """The resource as it runs, where that is not as its file says."""
        return self.path / "pipeline.yaml"

    def keep_store_url(self, url: str) -> str:
        """Writes the store's URL, which may hold a password, for the user only; a reference to it."""
        path = self.run / "store-url"
        path.touch(mode=0o600)
        path.write_text(url)
        return f"file:{path}"

    @property
    def _endpoints(self) -> Path:
        return self.run / "endpoints.json"

    def key(self, role: str) -> str:
        return (self.keys / role).read_text().strip()

    def announce(self, endpoints: Endpoints) -> None:
        beside = self._endpoints.with_suffix(".new")
        beside.write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
        beside.replace(self._endpoints)

    def withdraw(self) -> None:
        self._endpoints.unlink(missing_ok=True)

    def endpoints(self) -> Endpoints:
        """Where the running parts listen; raises NotRunningError."""
        try:
            return Endpoints(**json.loads(self._endpoints.read_text()))
        except FileNotFoundError as error:
            raise NotRunningError(
                f"no pipeline runs from {self.path}: start one with `recpipe run -f FILE`, or name its --home"
            ) from error


def free_port(preferred: int | None = None) -> int:
    """A free loopback port, the preferred one where it is free."""
    for port in (preferred, 0) if preferred else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
