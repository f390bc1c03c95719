"""Deploys a pipeline's topics by hand: `python -m recpipe.pulsar apply -f pipeline.yaml --dry-run`."""

import argparse
import asyncio
import sys
from pathlib import Path

from recpipe.pipeline_file import InvalidPipelineError, load_pipeline
from recpipe.pulsar import Admin, Credentials
from recpipe.pulsar.deployment import apply, desired, observe, plan, removal
from recpipe.pulsar.errors import AdminError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recpipe.pulsar", description=__doc__)
    parser.add_argument("verb", choices=["apply", "delete"])
    parser.add_argument("-f", "--file", type=Path, required=True, help="the RecommenderPipeline")
    parser.add_argument("--dry-run", action="store_true", help="print the changes and make none")
    parser.add_argument("--admin-url", help="instead of the file's spec.pulsar.adminUrl")
    parser.add_argument("--credentials", type=Path, help="folder with token, oauth2.json, ca.crt, tls.crt")
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(deploy(given)))
    except (InvalidPipelineError, AdminError) as error:
        sys.exit(str(error))


async def deploy(given: argparse.Namespace) -> int:
    """Prints one line a change; 1 where something stands in the way."""
    pipeline = load_pipeline(given.file)
    wanted = desired(pipeline)
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


if __name__ == "__main__":
    main()
