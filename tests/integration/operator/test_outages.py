"""What is away or broken is said and delays nobody else, and a deletion ends in every state of Pulsar."""

import json

import pytest

from .conftest import Make, Pipeline
from .forwarding import door


def left_behind(pipeline: Pipeline) -> list[str]:
    """What Events say of it."""
    told = pipeline.kubernetes.get("events", "-n", pipeline.namespace)["items"]
    return [
        each["message"]
        for each in told
        if each["reason"] == "LeftBehind" and each["involvedObject"]["name"] == pipeline.name
    ]


def test_a_pulsar_that_goes_away_is_said_and_delays_nobody(make: Make, pulsar: dict[str, str]) -> None:
    with door(pulsar["adminUrl"], own_functions=True) as admin:
        broken = make(pulsar={"adminUrl": admin.url})
        broken.settled()
        gone = admin.url
    found = broken.until("Ready", "False", "PulsarUnreachable")
    assert gone in found["message"]
    assert broken.condition("FunctionsReady")["reason"] == "PulsarUnreachable"
    make().settled()
    assert broken.condition("Ready")["reason"] == "PulsarUnreachable"
    with door(pulsar["adminUrl"], own_functions=True) as admin:
        broken.apply(pulsar=broken.spec["pulsar"] | {"adminUrl": admin.url})
        broken.settled()
        broken.delete()
    assert left_behind(broken) == []


def test_a_pulsar_that_is_gone_for_good_holds_up_no_deletion(make: Make, pulsar: dict[str, str]) -> None:
    with door(pulsar["adminUrl"], own_functions=True) as admin:
        pipeline = make(pulsar={"adminUrl": admin.url})
        pipeline.settled()
        gone = admin.url
    assert pipeline.delete() > 4  # the patience of a deletion is 5 s here
    (said,) = left_behind(pipeline)
    assert gone in said
    assert not pipeline.objects("pvc,secret")


def test_a_pulsar_that_knows_nothing_holds_up_no_deletion(make: Make, pulsar: dict[str, str]) -> None:
    with door(pulsar["adminUrl"], own_functions=True) as admin:
        pipeline = make(pulsar={"adminUrl": admin.url})
        pipeline.settled()
        admin.empty = True
        pipeline.delete()
        assert left_behind(pipeline) == []


@pytest.mark.parametrize(
    ("part", "waiting", "reason", "said"),
    [
        ("gateway", "not found", "ImagePullBackOff", "RECPIPE_IMAGE_GATEWAY"),
        ("learner", "back-off", "CrashLoopBackOff", "kubectl logs --previous"),
    ],
)
def test_a_broken_pod_is_never_hidden(make: Make, part: str, waiting: str, reason: str, said: str) -> None:
    pipeline = make()
    pipeline.settled()
    (pod,) = (
        each
        for each in pipeline.objects("pod").values()
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == part
    )
    (container,) = pod["status"]["containerStatuses"]
    broken = container | {"ready": False, "state": {"waiting": {"reason": reason, "message": waiting}}}
    patch = {"status": {"containerStatuses": [broken]}}
    done = pipeline.kubernetes.kubectl(
        *("patch", "pod", pod["metadata"]["name"], "-n", pipeline.namespace, "--subresource=status"),
        *("--type=merge", "-p", json.dumps(patch)),
    )
    assert done.returncode == 0, done.stderr
    assert said in pipeline.until("Ready", "False", reason)["message"]
