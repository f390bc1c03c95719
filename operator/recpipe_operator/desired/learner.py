"""The learner, which alone writes checkpoints and versions, and the job that learns everything anew."""

from recpipe_operator.desired.common import (
    METRICS_PORT,
    MODELS,
    Context,
    Object,
    container,
    http_probe,
    pipeline_annotations,
    pipeline_arguments,
    pipeline_environment,
    pipeline_mounts,
    pipeline_volumes,
    pod,
    service,
)

CHECKPOINTS = "/checkpoints"


def learner(context: Context) -> list[Object]:
    """A StatefulSet, as it never runs two pods of a name: two writers would spoil the checkpoints."""
    main = container(
        "learner",
        context.settings.images.learner,
        context,
        context.pipeline.spec.model.resources,
        {"metrics": METRICS_PORT},
        mounts=pipeline_mounts(context),
        writable={"checkpoints": CHECKPOINTS, "models": MODELS},
        command=["python", "-m", "recpipe_model.learner"],
        args=[*_arguments(context), "--metrics-port", str(METRICS_PORT)],
        env=[*pipeline_environment(context), {"name": "NUMBA_CACHE_DIR", "value": "/tmp/numba"}],
        # On a new machine it compiles its kernels first, which takes up to a minute.
        startupProbe=http_probe("/metrics", "metrics", failures=60),
        livenessProbe=http_probe("/metrics", "metrics", period=20, failures=6, timeout=5),
        readinessProbe=http_probe("/metrics", "metrics"),
    )
    volumes = [*pipeline_volumes(context), *_volumes(context)]
    template = pod(
        context,
        "learner",
        [main],
        volumes,
        pipeline_annotations(context),
        terminationGracePeriodSeconds=60,  # for the last checkpoint
        **context.model_affinity,
    )
    template["metadata"]["labels"] |= context.model_group
    spec = {
        "replicas": 1,
        "serviceName": context.name("learner"),
        "selector": {"matchLabels": context.selector("learner")},
        "template": template,
    }
    return [
        service(context, "learner", {"metrics": METRICS_PORT}, headless=True),
        context.object("apps/v1", "StatefulSet", "learner", spec=spec),
    ]


def training(context: Context) -> list[Object]:
    """Full retraining from the retained events, on the spec's schedule."""
    schedule = context.pipeline.spec.model.retrain_schedule
    if not schedule:
        return []
    main = container(
        "train",
        context.settings.images.learner,
        context,
        context.pipeline.spec.model.resources,
        {},
        mounts=pipeline_mounts(context),
        writable={"checkpoints": CHECKPOINTS, "models": MODELS},
        command=["recpipe", "train"],
        args=_arguments(context),
        env=[*pipeline_environment(context), {"name": "NUMBA_CACHE_DIR", "value": "/tmp/numba"}],
    )
    template = pod(
        context,
        "train",
        [main],
        [*pipeline_volumes(context), *_volumes(context)],
        {},
        restartPolicy="Never",
        **context.model_affinity,
    )
    template["metadata"]["labels"] |= context.model_group
    spec = {
        "schedule": schedule,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3_600,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 1,
        "jobTemplate": {
            "metadata": {"labels": context.labels("train")},
            "spec": {"backoffLimit": 2, "activeDeadlineSeconds": 6 * 3_600, "template": template},
        },
    }
    return [context.object("batch/v1", "CronJob", "train", spec=spec)]


def _arguments(context: Context) -> list[str]:
    return [*pipeline_arguments(context), "--checkpoints", CHECKPOINTS, "--models", MODELS]


def _volumes(context: Context) -> list[Object]:
    claim = {"claimName": context.name("checkpoints")}
    return [{"name": "checkpoints", "persistentVolumeClaim": claim}, context.model_volume]
