"""Processes of a cluster's home: started in the background, found again by their pid and a mark."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = (
    "RECPIPE_CLUSTER_HOME"  # in the environment of every process, so that a recycled pid is not taken for it
)
STOP_SECONDS = 20.0


class ClusterError(Exception):
    """Something the caller can act on."""


@dataclass(frozen=True)
class Home:
    """Where a cluster keeps its certificates, data, logs and pids."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    def path(self, *parts: str) -> Path:
        return self.folder.joinpath(*parts)

    def make(self, fresh: bool) -> None:
        if fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("pki", "log", "run", "images"):
            self.path(name).mkdir(parents=True, exist_ok=True)

    def ports(self, *names: str) -> dict[str, int]:
        """Free ports, the same ones each time."""
        file = self.path("ports.json")
        if not file.exists():
            file.write_text(json.dumps(free_ports(*names)))
        found: dict[str, int] = json.loads(file.read_text())
        return found

    def start(self, name: str, program: str | Path, flags: Mapping[str, object]) -> None:
        """Starts a process with `--flag=value` each, unless it runs; its output goes to log/NAME.log."""
        if self.pid(name):
            return
        command = [str(program), *(f"--{flag}={value}" for flag, value in flags.items())]
        with self.path("log", f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | {MARK: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.path("run", f"{name}.pid").write_text(str(process.pid))

    def pid(self, name: str) -> int | None:
        """Of a process of this home that runs."""
        try:
            pid = int(self.path("run", f"{name}.pid").read_text())
            proc = Path(f"/proc/{pid}")
            ended = (proc / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            environment = (proc / "environ").read_bytes()  # empty until the program is in place
        except (OSError, ValueError):
            return None
        mine = not environment or f"{MARK}={self.folder}".encode() in environment.split(b"\0")
        return pid if mine and not ended else None

    def stop(self, name: str) -> None:
        """Ends a process and waits for its end, or its ports would still be taken."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid(name)
            if pid is None:
                break
            os.kill(pid, sent)
            try:
                wait(lambda: self.pid(name) is None, STOP_SECONDS, f"the end of {name}", every=0.02)
            except ClusterError:
                continue
        self.path("run", f"{name}.pid").unlink(missing_ok=True)

    def running(self) -> list[str]:
        return [file.stem for file in self.path("run").glob("*.pid") if self.pid(file.stem)]

    def wait(self, condition: Callable[[], bool], seconds: float, what: str, *, by: str) -> None:
        """Until a condition holds; fails early where the process that has to bring it has ended."""

        def met() -> bool:
            if self.pid(by) is None:
                raise ClusterError(f"{by} has ended: {self.last_words(by)}")
            return condition()

        try:
            wait(met, seconds, what)
        except ClusterError as error:
            raise ClusterError(f"{error}; see {self.path('log')}") from error

    def last_words(self, name: str) -> str:
        lines = self.path("log", f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(["", *lines[-8:]])


def living() -> set[Path]:
    """Folders of all homes on this machine that have a process."""
    found = set()
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = file.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        mark = f"{MARK}=".encode()
        found |= {Path(os.fsdecode(each.removeprefix(mark))) for each in variables if each.startswith(mark)}
    return found


def wait(condition: Callable[[], bool], seconds: float, what: str, *, every: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(every)


def run(command: list[str], seconds: float = 600, **options: object) -> str:
    """Runs to its end; answers its output, or fails with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise ClusterError(f"{' '.join(map(str, command[:4]))} …: {said[-2000:]}")
    answer: str = done.stdout
    return answer


def free_ports(*names: str) -> dict[str, int]:
    sockets = [socket.socket() for _ in names]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = {name: each.getsockname()[1] for name, each in zip(names, sockets, strict=True)}
    for each in sockets:
        each.close()
    return ports
