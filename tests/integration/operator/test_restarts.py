"""The operator itself goes, comes back, is replaced: by a standby, by a new version, between any two of its writes."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from recpipe.local.home import free_port

from ...conftest import Figure
from ..conftest import Kubernetes, until
from .conftest import (
    Operator,
    Pipeline,
    lines,
    operating,
    secret,
    writes,
)

APPLIED = "deploy,sts,svc,cm,netpol,pdb,hpa,ing,cronjob,pvc"
EVERYTHING = f"{APPLIED},secret"
TAKEOVER_SECONDS = 40.0
"""A Lease lasts 15 s; the standby asks every 2 s, on a busy machine later."""
HANDOVER_SECONDS = 12.0
LIVES_SECONDS = 200.0


def shop(operator: Operator, pulsar: dict[str, str]) -> Pipeline:
    spec: dict[str, Any] = {
        "events": {"partitions": 1},
        "store": {"urlSecret": "store"},
        "deletionPolicy": "Delete",
        "pulsar": pulsar | {"namespace": operator.namespace},
    }
    return Pipeline(operator.kubernetes, operator.namespace, "shop", spec)


@pytest.fixture
def settings(functions: Path, store: str) -> dict[str, str]:
    return {
        "RECPIPE_FUNCTIONS_PACKAGE": str(functions),
        "RECPIPE_FUNCTIONS_STORE": store,
        "RECPIPE_RESYNC_SECONDS": "2",
    }


def two_looks_write_nothing(operator: Operator, since: int) -> None:
    """From the first look on, by the operator that has just started."""
    operator.until_looked(2)
    assert writes(operator.kubernetes, operator.namespace, since) == []


def test_a_standby_takes_over_by_the_lease(kube: Kubernetes, tmp_path: Path) -> None:
    with operating(kube, tmp_path) as first:
        until(first.leads, "the first leads")
        second = Operator(kube, first.namespace, tmp_path / "second.log")
        second.start()
        lease = kube.get("lease", "recpipe-operator", "-n", first.namespace)["spec"]
        until(
            lambda: (
                kube.get("lease", "recpipe-operator", "-n", first.namespace)["spec"]["renewTime"]
                > lease["renewTime"]
            ),
            "the first renews its lease",
        )
        assert not second.leads()
        first.stop(signal.SIGKILL)
        until(second.leads, "the standby leads once the lease has run out", TAKEOVER_SECONDS)
        first.start()
        assert second.stop() == 0
        until(first.leads, "the other one leads at once, as the lease was given back", HANDOVER_SECONDS)
        assert first.stop() == 0


def test_a_new_version_rolls_what_is_new_and_keeps_the_rest(
    kube: Kubernetes, settings: dict[str, str], store: str, pulsar: dict[str, str], tmp_path: Path
) -> None:
    with operating(kube, tmp_path, **settings) as operator:
        kube.apply(secret(operator.namespace, "store", url=store))
        pipeline = shop(operator, pulsar)
        pipeline.apply()
        pipeline.settled()
        before = pipeline.objects(EVERYTHING)
        assert operator.stop() == 0

        since = lines(kube)
        operator.start()
        two_looks_write_nothing(operator, since)
        assert operator.stop() == 0

        operator.start(RECPIPE_IMAGE_GATEWAY="recpipe/gateway:next")
        until(lambda: gateway_image(pipeline) == "recpipe/gateway:next", "the new image")
        pipeline.settled()
        after = pipeline.objects(EVERYTHING)
        assert each(after, "uid") == each(before, "uid")
        new = each(after, "generation").items() - each(before, "generation").items()
        assert {name for name, _ in new} == {"Deployment shop-gateway"}
        pipeline.delete()


def each(objects: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: found["metadata"].get(field) for name, found in objects.items()}


def gateway_image(pipeline: Pipeline) -> str:
    found: str = pipeline.get("deploy", "gateway")["spec"]["template"]["spec"]["containers"][0]["image"]
    return found


@contextmanager
def mortal(operator: Operator, said: Path) -> Iterator[None]:
    """An operator in place of that one, which is killed between every two writes."""
    command = [sys.executable, str(Path(__file__).with_name("mortal.py")), "--identity", "mortal"]
    command += ["--kubeconfig", str(operator.kubernetes.kubeconfig)]
    command += ["--bind", "127.0.0.1", "--port", str(free_port())]
    own = {"RECPIPE_NAMESPACES": operator.namespace, "RECPIPE_OPERATOR_NAMESPACE": operator.namespace}
    environment = os.environ | own | operator.settings
    with said.open("ab") as out, operator.log.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
    try:
        yield
        assert process.poll() is None, operator.log.read_text()[-2_000:]
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_between_every_two_steps_it_gets_to_the_same_end(
    kube: Kubernetes,
    settings: dict[str, str],
    store: str,
    pulsar: dict[str, str],
    tmp_path: Path,
    figure: Figure,
) -> None:
    """On the way in, and on the way out."""
    said = tmp_path / "said"
    with operating(kube, tmp_path, **settings, RECPIPE_DELETION_GRACE_SECONDS="600") as operator:
        kube.apply(secret(operator.namespace, "store", url=store))
        assert operator.stop() == 0
        pipeline = shop(operator, pulsar)
        with mortal(operator, said):
            pipeline.apply()
            pipeline.settled(LIVES_SECONDS)
        steps_in = said.read_text().splitlines()
        for name in pipeline.objects(APPLIED):
            assert any(step.endswith(f"/{name.split()[1]}") for step in steps_in), name
        for what, least in {"/partitions": 6, "Compatibility": 6, "/schema": 6, "/retention": 6}.items():
            assert sum(what in step for step in steps_in if " v2/" in step) >= least
        assert sum("v3/functions" in step for step in steps_in) >= 2

        since = lines(kube)
        operator.start()
        two_looks_write_nothing(operator, since)
        assert operator.stop() == 0

        with mortal(operator, said):
            pipeline.delete(LIVES_SECONDS)
        steps_out = said.read_text().splitlines()[len(steps_in) :]
        until(lambda: not pipeline.objects(EVERYTHING), "everything is gone")
        figure(f"killed after each of {len(steps_in)} writes of a creation, {len(steps_out)} of a deletion")
        most = Counter(steps_in + steps_out).most_common(1)
        assert most[0][1] < 20, most
