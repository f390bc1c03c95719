"""What users do, in order, on a cluster that runs containers: each test goes on where the one before it ended."""

import json
import socket
import subprocess
import sys
from typing import Any

import pytest

from recpipe_gateway.tensors import Question, inputs_of

from .clusters import ROOT, Cluster, wait_until
from .conftest import Shop, Steps

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
READY_SECONDS, MODEL_SECONDS, ROLL_SECONDS = 300, 240, 240
EVENTS = 10_000
CPU = {"model": "250m", "serving": "150m", "gateway": "150m"}
LABEL = "recpipe.dev/pipeline=shop"


def patch(cluster: Cluster, spec: dict[str, Any]) -> None:
    cluster.kubectl("patch", "recpipe", "shop", "--type=merge", "-p", json.dumps({"spec": spec}))


def learned(cluster: Cluster) -> int:
    """Events in the learner, as the pipeline's status has them."""
    found: int = cluster.get("recpipe", "shop").get("status", {}).get("learner", {}).get("learned", 0)
    return found


def replicas(cluster: Cluster, part: str, count: int) -> bool:
    """Whether a Deployment has so many pods, all of the newest template and ready."""
    found = cluster.get("deployment", f"shop-{part}")
    status, wanted = found["status"], found["spec"]["replicas"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return (
        wanted == count
        and counts == [count] * 3
        and status["observedGeneration"] == found["metadata"]["generation"]
    )


def test_a_pipeline_gets_ready(cluster: Cluster, steps: Steps) -> None:
    # The defaults ask for a core before anything is scaled; all of it has to fit on a machine with two.
    with steps.step("apply examples/shop.yaml, Ready"):
        cluster.kubectl("apply", "-f", ROOT / "examples" / "shop.yaml")
        patch(cluster, {part: {"resources": {"cpu": cpu}} for part, cpu in CPU.items()})
        cluster.kubectl(
            "wait",
            "recpipe/shop",
            "--for=condition=Ready",
            f"--timeout={READY_SECONDS}s",
            seconds=READY_SECONDS + 30,
        )


def test_events_are_learned(cluster: Cluster, shop: Shop, steps: Steps) -> None:
    with steps.step(f"replay {EVENTS:,} events through the Service") as notes:
        report = shop.does("load", events=EVENTS, rate=1_000, asks=2, patience=10, seconds=200)
        notes.append(f"{report['events']['accepted']:,} accepted in {report['seconds']} s")
    assert report["events"]["accepted"] == EVENTS, report
    assert report["recommendations"]["failed"] == 0, report
    with steps.step("all of them learned, first model served"):
        account = {}

        def all_there() -> bool:
            account.update(shop.does("account"))
            return account["missing"] == 0

        wait_until(all_there, MODEL_SECONDS, f"every event at the far end: {account}")
        wait_until(
            lambda: learned(cluster) >= account["rows"], MODEL_SECONDS, "the learner's report of all rows"
        )
        wait_until(
            lambda: cluster.condition("ServingAvailable")[0] == "True", MODEL_SECONDS, "a model served"
        )


def test_the_next_click_counts(shop: Shop, steps: Steps) -> None:
    with steps.step("recommendations change with the next click") as notes:
        found = shop.does("click", seconds=10)
        notes.append(f"after {found['ms']} ms")
    assert len(found["before"]) == 10
    assert found["before"] != found["after"]


def test_the_model_answers_grpc_from_a_pod(shop: Shop, steps: Steps) -> None:
    with steps.step("gRPC Predict from a pod") as notes:
        found = shop.does("predict", target="dns:///shop-serving:8500")
        notes.append(f"version {found['version']}: {', '.join(found['items'][:3])}")
    assert found["version"] >= 1
    assert found["items"][0].startswith("item-")


def test_the_model_answers_the_published_client_from_outside(cluster: Cluster, steps: Steps) -> None:
    """`tensorflow-serving-api` from PyPI, through a port that kubectl forwards."""
    inputs = inputs_of([Question(["item-13"], [1.0], [1.0], [b""], [], [], 5)], b"")
    tensors = {
        name: {
            "dtype": "string" if array.dtype == object else array.dtype.name,
            "shape": list(array.shape),
            "content": [each.hex() for each in array.ravel()]
            if array.dtype == object
            else array.tobytes().hex(),
        }
        for name, array in inputs.items()
    }
    asked = {"model": "shop", "signature": "serving_default", "inputs": tensors}
    script = ROOT / "tests" / "integration" / "serving" / "tensorflow_serving_client.py"
    with steps.step("gRPC Predict from the host, tensorflow-serving-api") as notes:
        forwarding = cluster.start("port-forward", "service/shop-serving", ":8500")
        try:
            assert forwarding.stdout
            port = int(forwarding.stdout.readline().split(":")[1].split()[0])
            with socket.create_connection(("127.0.0.1", port), timeout=10):
                pass
            command = [sys.executable, str(script), f"127.0.0.1:{port}"]
            done = subprocess.run(
                command,
                input=json.dumps(asked) + "\n",
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        finally:
            forwarding.terminate()
            forwarding.wait(10)
        assert done.returncode == 0, done.stderr[-2_000:]
        answer = json.loads(done.stdout)
        first = bytes.fromhex(answer["outputs"]["items"]["content"][0]).decode()
        notes.append(f"version {answer['model_spec'][1]}: {first}")
    assert answer["states"][str(answer["model_spec"][1])] == "AVAILABLE"
    assert first.startswith("item-")


def test_kubectl_tells_how_it_is(cluster: Cluster, steps: Steps) -> None:
    with steps.step("kubectl get and describe") as notes:
        line = cluster.kubectl("get", "recpipe", "shop")
        said = cluster.kubectl("describe", "recpipe", "shop")
        notes.append(" ".join(line.splitlines()[1].split()))
    assert line.split()[:4] == ["NAME", "READY", "REASON", "MODEL"]
    for expected in (
        "TopicsDeployed",
        "FunctionsRunning",
        "ModelServed",
        "http://shop-gateway.shop:8080",
        "Events:",
    ):
        assert expected in said
    assert "private" not in said.lower()


@pytest.mark.parametrize("part", ["gateway", "serving"])
def test_scaling(cluster: Cluster, steps: Steps, part: str) -> None:
    with steps.step(f"scale {part} to 2"):
        patch(cluster, {part: {"replicas": 2}})
        wait_until(lambda: replicas(cluster, part, 2), ROLL_SECONDS, f"2 of {part}")


@pytest.mark.parametrize("part", ["gateway", "serving"])
def test_a_rolling_update_fails_no_request(cluster: Cluster, shop: Shop, steps: Steps, part: str) -> None:
    """A try each: what is counted as failed is any request that was not answered at once with success."""

    def rolled() -> bool:
        found = cluster.get("deployment", f"shop-{part}")["spec"]["template"]["spec"]["containers"][0]
        return found["resources"]["requests"]["cpu"] == "140m" and replicas(cluster, part, 2)

    with steps.step(f"rolling update of {part} at 100 events/s") as notes:
        with shop.load(rate=100, asks=20) as report:
            patch(cluster, {part: {"resources": {"cpu": "140m"}}})
            took = wait_until(rolled, ROLL_SECONDS, f"the new {part}")
        notes.append(f"rolled in {took:.1f} s")
    asked, sent = report["recommendations"], report["events"]
    steps.measured(
        "rolling updates at 100 events/s, one try each",
        part=part,
        sent=sent["sent"],
        accepted=sent["accepted"],
        sent_again=sent["sent again"],
        answers=asked["answered"],
        failed=asked["failed"],
        degraded=asked["degraded"],
        p99_ms=report["p99 ms"],
        rolled_s=round(took, 1),
    )
    assert asked["failed"] == 0, report["failures"]
    assert sent["given up"] == 0, report["failures"]
    assert sent["sent again"] == 0, report


def test_retraining(cluster: Cluster, shop: Shop, steps: Steps) -> None:
    patch(cluster, {"model": {"retrainSchedule": "0 4 * * *"}})
    wait_until(lambda: "shop-train" in cluster.names("cronjobs"), 60, "the CronJob")
    version = int(cluster.get("recpipe", "shop")["status"]["modelVersion"])
    with steps.step("retrain Job") as notes:
        cluster.kubectl("create", "job", "retrain", "--from=cronjob/shop-train")
        ended = ("Complete", "Failed")

        def over() -> bool:
            found = cluster.get("job", "retrain")["status"].get("conditions", [])
            return any(each["type"] in ended and each["status"] == "True" for each in found)

        wait_until(over, 400, "the end of the Job")
        assert cluster.get("job", "retrain")["status"].get("succeeded"), cluster.kubectl(
            "logs", "job/retrain"
        )
        notes.append(cluster.kubectl("logs", "job/retrain", "--tail=1").strip()[:120])
        wait_until(
            lambda: shop.does("predict", target="dns:///shop-serving:8500")["version"] > version,
            120,
            "the new version",
        )


KILLED = ("shop-gateway", "shop-serving", "shop-learner-0", "shop-store-0", "pulsar-0", "recpipe-operator")


@pytest.mark.parametrize("part", KILLED)
def test_a_killed_pod_loses_nothing(cluster: Cluster, shop: Shop, steps: Steps, part: str) -> None:
    """SIGKILL under 200 events/s; answers may be degraded, and come within 5 seconds."""
    pod = next(name for name in sorted(cluster.names("pods")) if name.startswith(part))
    with steps.step(f"kill -9 {part}") as notes:
        with shop.load(rate=200, asks=10, patience=5) as report:
            restarts = cluster.kill(pod)
            back = wait_until(lambda: cluster.restarted(pod, restarts), 180, f"{pod} again")
            ready = wait_until(lambda: cluster.condition("Ready")[0] == "True", 180, "Ready again")
            before = shop.progress()["learned"]
            flows = wait_until(lambda: shop.progress()["learned"] > before, 180, "learning again")
        account: dict[str, Any] = {}

        def all_there() -> bool:
            account.update(shop.does("account"))
            return account["missing"] == 0

        wait_until(all_there, 120, "every accepted event at the far end")
        notes.append(f"pod back after {back:.1f} s, all Ready +{ready:.1f} s, learning +{flows:.1f} s")
    asked, sent, pauses = report["recommendations"], report["events"], report["longest pause s"]
    steps.measured(
        "kill -9 at 200 events/s; recovery and the longest pauses in seconds",
        part=part,
        sent=sent["sent"],
        accepted=sent["accepted"],
        missing=account["missing"],
        answers=asked["answered"],
        failed=asked["failed"],
        degraded=asked["degraded"],
        back=round(back, 1),
        no_events=pauses["events"],
        no_answers=pauses["answers"],
        no_learning=pauses["learning"],
    )
    assert asked["failed"] == 0, report["failures"]
    assert sent["given up"] == 0, report["failures"]


def test_deletion_leaves_the_data_and_nothing_else(cluster: Cluster, steps: Steps) -> None:
    with steps.step("delete the pipeline") as notes:
        cluster.kubectl("delete", "recpipe", "shop", "--timeout=120s")
        kinds = "pods,deployments,statefulsets,services,configmaps,cronjobs,jobs,pdb,hpa,networkpolicies"
        wait_until(lambda: not cluster.names(kinds, LABEL), 120, "the end of everything that bears its label")
        kept = cluster.names("pvc", LABEL)
        notes.append(f"kept: {', '.join(sorted(kept))}")
        topics = cluster.kubectl(
            "exec", "client", "--", "python", "-c",
            "import httpx; u = 'http://pulsar:8080/admin'; "
            "print(httpx.get(u + '/v2/persistent/public/default/partitioned').json(), "
            "httpx.get(u + '/v3/functions/public/default').json())",
        )  # fmt: skip
    assert set(kept) == {"shop-models", "shop-checkpoints", "shop-store"}
    assert "persistent://public/default/shop-events" in topics
    assert topics.strip().endswith("[]"), "no function is left"


def test_uninstalling_keeps_the_definition(cluster: Cluster, steps: Steps) -> None:
    with steps.step("uninstall the release"):
        cluster.helm("uninstall", "recpipe", "--wait")
    assert "recommenderpipelines.recpipe.dev" in cluster.kubectl("get", "crd")
