"""Deploys a pipeline to Pulsar by hand: `python -m recpipe.pulsar apply -f pipeline.yaml --dry-run`."""

import argparse
import asyncio
import sys
from pathlib import Path

from recpipe.pipeline_file import InvalidPipelineError, load_pipeline
from recpipe.pulsar import Admin, Credentials
from recpipe.pulsar.deployment import apply, desired, observe, plan, removal
from recpipe.pulsar.errors import AdminError
from recpipe.pulsar.function_settings import DesiredFunction, desired_functions
from recpipe.spec import RecommenderPipeline


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recpipe.pulsar", description=__doc__)
    parser.add_argument("verb", choices=["apply", "delete"])
    parser.add_argument("-f", "--file", type=Path, required=True, help="the RecommenderPipeline")
    parser.add_argument("--dry-run", action="store_true", help="print the changes and make none")
    parser.add_argument("--admin-url", help="instead of the file's spec.pulsar.adminUrl")
    parser.add_argument("--credentials", type=Path, help="folder with token, oauth2.json, ca.crt, tls.crt")
    parser.add_argument(
        "--functions",
        type=Path,
        help="package that `python -m recpipe_functions.package` wrote; else topics only",
    )
    parser.add_argument(
        "--store", default="env:RECPIPE_STORE_URL", help="where functions find the store's URL"
    )
    parser.add_argument("--parallelism", type=int, default=1, help="instances of each function")
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(deploy(given)))
    except (InvalidPipelineError, AdminError, OSError, ValueError) as error:
        sys.exit(str(error))


async def deploy(given: argparse.Namespace) -> int:
    """Prints one line a change; 1 where something stands in the way."""
    pipeline = load_pipeline(given.file)
    wanted = desired(pipeline, functions(pipeline, given))
    url = given.admin_url or pipeline.spec.pulsar.admin_url
    async with Admin(url, Credentials(given.credentials)) as admin:
        observed = await observe(admin, wanted)
        changes, obstacles = plan(wanted, observed)
        if given.verb == "delete":
            changes, obstacles = removal(observed, pipeline.spec.deletion_policy), []
        for line in (*changes, *(f"! {obstacle}" for obstacle in obstacles)):
            sys.stdout.write(f"{line}\n")
        if not changes:
            sys.stdout.write("nothing to change\n")
        if not given.dry_run:
            await apply(admin, changes)
    return 1 if obstacles else 0


def functions(pipeline: RecommenderPipeline, given: argparse.Namespace) -> tuple[DesiredFunction, ...]:
    """Those to run; to delete them, their names are enough."""
    if given.verb == "delete":
        return desired_functions(pipeline, b"", given.store)
    if given.functions is None:
        return ()
    package = given.functions.read_bytes()
    return desired_functions(pipeline, package, given.store, parallelism=given.parallelism)


if __name__ == "__main__":
    main()
