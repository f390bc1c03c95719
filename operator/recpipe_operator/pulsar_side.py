"""A pipeline's side of Pulsar: topics, functions and backlog, each look with a deadline.

Pipelines of one Pulsar wait for each other only as far as that Pulsar would suffer; those of another one
never wait for it.
"""

import asyncio
import hashlib
import shutil
import tempfile
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from recpipe.pulsar import Admin, Credentials
from recpipe.pulsar.credentials import InvalidCredentialsError
from recpipe.pulsar.deployment import Change, Desired, apply, desired, observe, plan, removal, restart_stuck
from recpipe.pulsar.errors import (
    AdminError,
    IncompatibleSchemaError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from recpipe.pulsar.function_settings import DesiredFunction, desired_functions
from recpipe.pulsar.status import DeploymentStatus, FunctionFares, TopicFares, read_status
from recpipe.spec import DeletionPolicy, RecommenderPipeline
from recpipe_operator import metrics
from recpipe_operator.api import Api, Reference
from recpipe_operator.conditions import Finding
from recpipe_operator.desired.common import Context
from recpipe_operator.settings import Settings

LOOK_SECONDS = 45.0
NOTHING = DeploymentStatus([], [])
AT_ONCE = 8
"""Pipelines that look at one Pulsar at the same time."""


@dataclass(frozen=True)
class PulsarView:
    """What one look found, after what could be changed was changed."""

    topics: Finding
    functions: Finding
    changes: tuple[str, ...] = ()
    status: tuple[FunctionFares, ...] = ()
    package: str = ""
    """Digest of the code that the functions run."""
    backlog: dict[str, int] = field(default_factory=dict)
    """Records not acknowledged, by reading group."""
    looked_at: float = field(default_factory=time.monotonic)

    @property
    def well(self) -> bool:
        return self.topics.holds and self.functions.holds


class PulsarRefusalError(Exception):
    """Pulsar cannot be worked with; the finding says why and what to do."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


class PulsarSide:
    """All Pulsar clusters that pipelines name."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api, self._store = api, settings.functions_store
        self._package = settings.functions_package.read_bytes() if settings.functions_package else b""
        self._digest = hashlib.sha256(self._package).hexdigest()[:16]
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._admins: dict[tuple[str, str, str], tuple[str, Admin]] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="recpipe-credentials-"))

    async def look(self, context: Context, *, change: bool) -> PulsarView:
        """Makes Pulsar as the pipeline wants it, unless only looking is allowed; never raises for its faults."""
        changes: list[str] = []
        try:
            async with self._turn(context.pipeline), self._refusals(context.pipeline):
                admin = await self._admin(context)
                topics = await self._topics(admin, context.pipeline, changes, change=change)
                fares = await read_status(admin, desired(context.pipeline)) if topics.holds else NOTHING
                functions, status = await self._functions(admin, context, changes, change=change)
        except PulsarRefusalError as refusal:
            return PulsarView(refusal.finding, refusal.finding, tuple(changes))
        return PulsarView(topics, functions, tuple(changes), status, self._digest, waiting(fares.topics))

    async def remove(self, context: Context, *, late: bool) -> tuple[list[str], bool]:
        """Removes what goes with the pipeline, and whether that was all; raises PulsarRefusalError.

        Functions go first, and topics once nobody reads them: a reader that comes back makes its topic anew.
        A deletion that is late waits for no reader.
        """
        pipeline = context.pipeline
        async with self._turn(pipeline), self._refusals(pipeline):
            admin = await self._admin(context)
            observed = await observe(admin, desired(pipeline, self._wanted_functions(context)))
            changes = removal(replace(observed, topics={}), pipeline.spec.deletion_policy)
            await apply(admin, changes)
            if pipeline.spec.deletion_policy is DeletionPolicy.RETAIN:
                return [change.text for change in changes], True
            fares = await read_status(admin, desired(pipeline))
            read = any(each.members for topic in fares.topics for each in topic.progress.values())
            if not late and (changes or read):
                return [change.text for change in changes], False
            changes = removal(observed, pipeline.spec.deletion_policy)
            await apply(admin, changes)
        return [change.text for change in changes], True

    async def close(self) -> None:
        for _, admin in self._admins.values():
            await admin.close()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _turn(self, pipeline: RecommenderPipeline) -> asyncio.Semaphore:
        return self._turns.setdefault(pipeline.spec.pulsar.admin_url, asyncio.Semaphore(AT_ONCE))

    @asynccontextmanager
    async def _refusals(self, pipeline: RecommenderPipeline) -> AsyncIterator[None]:
        """Bounds a look, and says in our words what Pulsar refused."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                yield
        except (AdminError, OSError, TimeoutError, ValueError) as error:
            raise PulsarRefusalError(explain(error, pipeline.spec.pulsar.admin_url)) from error

    async def _admin(self, context: Context) -> Admin:
        """A client with the newest credentials."""
        where = context.pipeline.spec.pulsar
        version, secret = "", where.credentials_secret
        key = (where.admin_url, context.namespace if secret else "", secret or "")
        found = None
        if secret:
            found = await self._api.get(Reference("v1", "Secret", context.namespace, secret))
            if found is None:
                message = f"spec.pulsar.credentialsSecret: Secret {secret} does not exist; make it with the key token"
                raise PulsarRefusalError(Finding.false("CredentialsMissing", message))
            version = found["metadata"]["resourceVersion"]
        known = self._admins.get(key)
        if known and known[0] == version:
            return known[1]
        folder = (
            self._written(context.namespace, secret, found.get("data") or {}) if found and secret else None
        )
        admin = Admin(where.admin_url, Credentials(folder))
        self._admins[key] = (version, admin)
        if known:
            await known[1].close()
        return admin

    def _written(self, namespace: str, secret: str, data: dict[str, str]) -> Path:
        """Credentials as files, in memory where /tmp is, which this process alone may read."""
        folder = self._folder / namespace / secret
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        for name, content in data.items():
            (folder / name).write_bytes(b64decode(content))
        return folder

    async def _topics(
        self, admin: Admin, pipeline: RecommenderPipeline, changes: list[str], *, change: bool
    ) -> Finding:
        wanted = desired(pipeline)
        missing, obstacles = plan(wanted, await observe(admin, wanted))
        if change:
            await _carry_out(admin, missing, changes)
        if obstacles:
            return Finding.false("TopicsRefused", "; ".join(obstacles))
        if missing and not change:
            return Finding.false("TopicsDiffer", f"{len(missing)} changes wait until the pipeline goes on")
        return Finding.true("TopicsDeployed", f"{len(wanted.topics)} topics")

    async def _functions(
        self, admin: Admin, context: Context, changes: list[str], *, change: bool
    ) -> tuple[Finding, tuple[FunctionFares, ...]]:
        if not self._package:
            message = "the operator has no functions to run: set RECPIPE_FUNCTIONS_PACKAGE in its Deployment"
            return Finding.false("PackageMissing", message), ()
        functions = self._wanted_functions(context)
        where = context.pipeline.spec.pulsar
        wanted = Desired(where.tenant, where.namespace, (), functions)
        try:
            missing, _ = plan(wanted, await observe(admin, wanted))
            if change:
                await _carry_out(admin, missing, changes)
            status = (await read_status(admin, wanted)).functions
            if change and not missing:
                await _start(admin, functions, status, changes)
        except UnavailableError as error:
            message = f"the function workers do not answer: {error.reason}; see that they are enabled and run"
            return Finding.false("FunctionWorkersUnreachable", message), ()
        return functions_finding(status), tuple(status)

    def _wanted_functions(self, context: Context) -> tuple[DesiredFunction, ...]:
        return desired_functions(
            context.pipeline,
            self._package,
            context.store_url or self._store,
            parallelism=context.pipeline.spec.pulsar.function_instances,
        )


async def _carry_out(admin: Admin, missing: list[Change], changes: list[str]) -> None:
    for each in missing:
        await apply(admin, [each])
        changes.append(each.text)
        metrics.WRITES.labels("pulsar").inc()


async def _start(
    admin: Admin, functions: tuple[DesiredFunction, ...], status: list[FunctionFares], changes: list[str]
) -> None:
    """Starts what somebody stopped, and restarts what is stuck.

    The status does not tell what is stopped from a start under way, but the worker does.
    """
    for function, fares in zip(functions, status, strict=True):
        if fares.running == fares.instances:
            continue
        with suppress(RefusedError):  # no instance of it is stopped
            await admin.functions.start(function.name)
            changes.append(f"~ function {function.name}: started")
        if await restart_stuck(admin, function.name, fares.stuck):
            changes.append(f"~ function {function.name}: restarted, for it ended again and again")


def functions_finding(status: Iterable[FunctionFares]) -> Finding:
    """Whether every instance runs; else which do not, and why as far as the worker says."""
    found = list(status)
    short = [each for each in found if each.running < max(each.instances, 1)]
    if not short:
        return Finding.true("FunctionsRunning", ", ".join(f"{each.name}: {each.running}" for each in found))
    said = [
        f"{each.name}: {each.running} of {max(each.instances, 1)} instances run"
        + (f": {each.exceptions[0][:300]}" if each.exceptions else "")
        for each in short
    ]
    failing = any(each.restarts for each in short)  # before the first start, silence is no failure
    return Finding.false("FunctionsFailing" if failing else "FunctionsStarting", "; ".join(said))


def waiting(topics: Iterable[TopicFares]) -> dict[str, int]:
    """Records that wait, by reading group."""
    found: dict[str, int] = {}
    for topic in topics:
        for group, progress in topic.progress.items():
            found[group] = found.get(group, 0) + progress.records
    return found


def explain(error: Exception, admin_url: str) -> Finding:
    """What went wrong, and what a person can do."""
    match error:
        case UnauthorizedError():
            message = f"{admin_url} refuses the operator: {error.reason}; see spec.pulsar.credentialsSecret"
            return Finding.false("PulsarUnauthorized", message)
        case IncompatibleSchemaError():
            message = (
                f"{error.request}: {error.reason}; a topic of this name holds other records: use another name"
            )
            return Finding.false("IncompatibleSchema", message)
        case UnavailableError():
            message = (
                f"{admin_url} does not answer: {error.reason}; see spec.pulsar.adminUrl and that Pulsar runs"
            )
            return Finding.false("PulsarUnreachable", message)
        case AdminError():
            return Finding.false("PulsarRefused", f"{error.request}: {error.reason}")
        case InvalidCredentialsError():
            return Finding.false("CredentialsInvalid", f"spec.pulsar.credentialsSecret: {error}")
        case TimeoutError():
            message = f"{admin_url} did not answer within {LOOK_SECONDS:.0f} s; see that Pulsar runs"
            return Finding.false("PulsarUnreachable", message)
        case ValueError():
            message = f"{admin_url} answers what no Pulsar does ({error}); see spec.pulsar.adminUrl"
            return Finding.false("PulsarRefused", message)
        case _:
            return Finding.false("PulsarUnreachable", f"{admin_url}: {error}")
