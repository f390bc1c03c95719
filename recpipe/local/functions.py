"""Clean and features as Functions of a Pulsar cluster, while the other parts run on this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from recpipe.pulsar import Admin, Credentials
from recpipe.pulsar.deployment import apply, desired, observe, plan, removal, until_running
from recpipe.pulsar.function_settings import desired_functions
from recpipe.spec import DeletionPolicy, RecommenderPipeline
from recpipe_functions.package import build

START_SECONDS = 90.0


@asynccontextmanager
async def functions_running(
    pipeline: RecommenderPipeline,
    store: str,
    credentials: Path | None = None,
    *,
    parallelism: int = 1,
    fresh: bool = False,
    data: DeletionPolicy = DeletionPolicy.RETAIN,
) -> AsyncIterator[None]:
    """Deploys topics and functions, and takes the functions away at the end; the topics stay by `data`.

    The workers must be able to reach `store`. With `fresh`, what earlier runs left in the topics is deleted
    first. Raises AdminError, or TimeoutError where the functions do not start.
    """
    wanted = desired(pipeline, desired_functions(pipeline, build(), store, parallelism=parallelism))
    async with Admin(pipeline.spec.pulsar.admin_url, Credentials(credentials)) as admin:
        if fresh:
            await apply(admin, removal(await observe(admin, wanted), DeletionPolicy.DELETE))
        changes, obstacles = plan(wanted, await observe(admin, wanted))
        if obstacles:
            raise ValueError("\n".join(obstacles))
        try:
            await apply(admin, changes)
            await until_running(admin, wanted, START_SECONDS)
            yield
        finally:
            await apply(admin, removal(await observe(admin, wanted), data))
