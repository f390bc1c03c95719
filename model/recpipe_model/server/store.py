"""The model store: loads and unloads versions as their directories come and go, and lends them to requests.

A version is loaded, and warmed, before the one it replaces is unloaded; an unloaded one is closed when the last request
that it was lent to has given it back. One thread does all the loading and unloading.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic

import grpc

from recpipe_model.client import VersionState as State
from recpipe_model.client import VersionStatus

from .config import ModelConfig, find_versions
from .status import StatusError, failed_precondition, invalid_argument, not_found
from .versions import Action, T, Version, next_action

_MAX_ENDED = 16  # versions of a model remembered after their end
_MAX_WAIT_SECONDS = 60.0

_log = logging.getLogger(__name__)


class _Model(Generic[T]):
    """A model's configuration, None once it is removed, and its versions."""

    def __init__(self, config: ModelConfig) -> None:
        self.config: ModelConfig | None = config
        self.aspired: dict[int, Path] = {}
        self.versions: dict[int, Version[T]] = {}
        self.ended: dict[int, VersionStatus] = {}
        self.labels: dict[str, int] = {}
        self.poll_error = ""

    def available(self) -> set[int]:
        return {number for number, version in self.versions.items() if version.state is State.AVAILABLE}

    def failed(self) -> list[Version[T]]:
        return [version for version in self.versions.values() if version.error is not None]


class ModelStore(Generic[T]):
    """Keeps each model's wanted versions loaded.

    Args:
        load: makes a version servable, ready for its first request; raises `StatusError` if it cannot.
        poll_seconds: between looks at the file system; 0 looks only when the configuration is given.
        max_load_retries, retry_seconds: how often a version that fails to load is tried again, and how long after.
        on_change: called, in the store's thread, after a version's state has changed.
    """

    def __init__(
        self,
        load: Callable[[Version[T]], T],
        *,
        poll_seconds: float = 1.0,
        max_load_retries: int = 5,
        retry_seconds: float = 60.0,
        on_change: Callable[[Version[T]], None] = lambda version: None,
    ) -> None:
        self._load_servable = load
        self._poll_seconds = poll_seconds
        self._max_load_retries = max_load_retries
        self._retry_seconds = retry_seconds
        self._on_change = on_change
        self._models: dict[str, _Model[T]] = {}
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._poll_now = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model-store", daemon=True)

    def start(self, configs: Iterable[ModelConfig]) -> None:
        """Begin serving; returns at once. Labels may name versions that have yet to load."""
        configs = list(configs)
        with self._changed:
            self._configure(configs)
            self._label(configs)
        self._thread.start()

    def reload(
        self, configs: Iterable[ModelConfig], *, timeout: float, label_unavailable: bool = False
    ) -> None:
        """Replace the configuration, wait for the models that are new, then replace the labels.

        Raises:
            StatusError: UNKNOWN if a new model fails to load, DEADLINE_EXCEEDED if it takes longer than `timeout`
                seconds, FAILED_PRECONDITION if a label is of a version that is not available. The models' new
                configuration stays in force, with the former labels.
        """
        configs = list(configs)
        with self._changed:
            current = {name for name, model in self._models.items() if model.config is not None}
            new = [config.name for config in configs if config.name not in current]
            self._configure(configs)
            models = [self._models[name] for name in new]
            if not self._changed.wait_for(
                lambda: all(model.available() or model.failed() for model in models),
                timeout=min(timeout, _MAX_WAIT_SECONDS),
            ):
                missing = ", ".join(name for name in new if not self._models[name].available())
                raise StatusError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, f"No version yet of new models: {missing}"
                )
            failed = [version for model in models if not model.available() for version in model.failed()]
            if failed:
                names = "".join(
                    f"{{name: {version.model} version: {version.number}}}, " for version in failed
                )
                raise StatusError(
                    grpc.StatusCode.UNKNOWN, f"Some models did not become available: {{{names}}}"
                )
            self._check_labels(configs, label_unavailable)
            self._label(configs)

    def borrow(self, name: str, number: int | None, label: str | None) -> Version[T]:
        """An available version, the latest unless one is named, which stays open until it is given back.

        Raises:
            StatusError: NOT_FOUND if there is none, INVALID_ARGUMENT if the label is unknown.
        """
        with self._changed:
            version = self._find(name, number, label)
            version.lent += 1
            return version

    def give_back(self, version: Version[T]) -> None:
        with self._changed:
            version.lent -= 1
            if version.state is State.UNLOADING and not version.lent:
                self._wake.set()

    def statuses(self, name: str, number: int | None, label: str | None) -> list[VersionStatus]:
        """The versions known of a model, newest first, or only the one named; raises NOT_FOUND if there is none."""
        with self._changed:
            if label is not None:
                number = self._labelled(name, label)
            model = self._models.get(name)
            known = {} if model is None else model.ended | {n: v.status() for n, v in model.versions.items()}
        if number is not None:
            if number not in known:
                raise not_found(f"Could not find version {number} of model {name}")
            return [known[number]]
        if not known:
            raise not_found(f"Could not find any versions of model {name}")
        return [known[n] for n in sorted(known, reverse=True)]

    def ready(self) -> bool:
        """Whether there are models, and each has a version available."""
        with self._changed:
            models = [model for model in self._models.values() if model.config is not None]
            return bool(models) and all(model.available() for model in models)

    def close(self, *, timeout: float) -> bool:
        """Load and unload no more; False if a load was still running after `timeout` seconds."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _configure(self, configs: list[ModelConfig]) -> None:
        for model in self._models.values():
            model.config = None
        for config in configs:
            self._models.setdefault(config.name, _Model(config)).config = config
        self._poll_now = True
        self._wake.set()

    def _label(self, configs: list[ModelConfig]) -> None:
        for config in configs:
            self._models[config.name].labels = dict(config.labels)

    def _check_labels(self, configs: list[ModelConfig], label_unavailable: bool) -> None:
        for config in configs:
            model = self._models[config.name]
            for label, number in config.labels.items():
                moved = model.labels.get(label, number) != number
                if number not in model.available() and (moved or not label_unavailable):
                    raise failed_precondition(
                        f"Request to assign label to version {number} of model {config.name}, "
                        "which is not currently available for inference"
                    )

    def _find(self, name: str, number: int | None, label: str | None) -> Version[T]:
        if label is not None:
            number = self._labelled(name, label)
        model = self._models.get(name)
        available = model.available() if model is not None else set()
        wanted = max(available, default=None) if number is None else number
        if model is None or wanted not in available:
            request = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise not_found(f"Servable not found for request: {request}")
        return model.versions[wanted]

    def _labelled(self, name: str, label: str) -> int:
        model = self._models.get(name)
        if model is None or label not in model.labels:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return model.labels[label]

    def _run(self) -> None:
        while not self._stopping:
            with self._changed:
                models = list(self._models.items())
                poll, self._poll_now = self._poll_now or self._poll_seconds > 0, False
            for name, model in models:
                if poll:
                    self._poll(name, model)
                self._reconcile(name, model)
            self._wake.wait(self._poll_seconds or _MAX_WAIT_SECONDS)
            self._wake.clear()

    def _poll(self, name: str, model: _Model[T]) -> None:
        config = model.config
        if config is None:
            model.aspired = {}
            return
        try:
            found = find_versions(config.base_path)
        except OSError as error:
            # A store that is away for a moment must not unload what is loaded.
            if str(error) != model.poll_error:
                _log.warning("model %s: cannot read base path %s: %s", name, config.base_path, error)
            model.poll_error = str(error)
            return
        model.poll_error = ""
        model.aspired = {number: found[number] for number in config.policy.choose(found)}

    def _reconcile(self, name: str, model: _Model[T]) -> None:
        self._retire(model)
        for number, path in model.aspired.items():
            if number not in model.versions:
                self._begin(model, Version(name, number, path))
        while not self._stopping:
            now = time.monotonic()
            loadable = {
                number
                for number in model.aspired
                if (version := model.versions.get(number)) is not None and self._may_load(version, now)
            }
            match next_action(model.aspired.keys(), model.available(), loadable):
                case Action.LOAD, number:
                    self._load(model.versions[number])
                case Action.UNLOAD, number:
                    self._set(model.versions[number], State.UNLOADING)
                    self._retire(model)
                case _:
                    return

    def _begin(self, model: _Model[T], version: Version[T]) -> None:
        with self._changed:
            model.versions[version.number] = version
            model.ended.pop(version.number, None)

    def _may_load(self, version: Version[T], now: float) -> bool:
        if version.state is State.START:
            return True
        return (
            version.state is State.END
            and 0 < version.failures <= self._max_load_retries
            and version.retry_at <= now
        )

    def _load(self, version: Version[T]) -> None:
        _log.info("model %s version %d: loading from %s", version.model, version.number, version.path)
        self._set(version, State.LOADING)
        try:
            version.servable = self._load_servable(version)
        except StatusError as error:
            self._fail(version, error)
        except Exception as error:  # the thread must outlive any model
            _log.exception("model %s version %d: loading", version.model, version.number)
            self._fail(version, StatusError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"))
        else:
            _log.info("model %s version %d: available", version.model, version.number)
            self._set(version, State.AVAILABLE)

    def _fail(self, version: Version[T], error: StatusError) -> None:
        _log.error("model %s version %d: failed to load: %s", version.model, version.number, error.message)
        version.failures += 1
        version.retry_at = time.monotonic() + self._retry_seconds * random.uniform(0.9, 1.1)
        self._set(version, State.END, error)

    def _retire(self, model: _Model[T]) -> None:
        """Close the unloading versions that no request holds, and forget the failed ones that are not wanted now."""
        for number, version in list(model.versions.items()):
            if version.state is State.UNLOADING and not version.lent:
                _log.info("model %s version %d: unloaded", version.model, number)
                if version.servable is not None:
                    version.servable.close()
                    version.servable = None
                self._set(version, State.END)
            if version.state is State.END and (version.error is None or number not in model.aspired):
                with self._changed:
                    del model.versions[number]
                    model.ended[number] = version.status()
                    for oldest in sorted(model.ended)[:-_MAX_ENDED]:
                        del model.ended[oldest]

    def _set(self, version: Version[T], state: State, error: StatusError | None = None) -> None:
        with self._changed:
            version.state, version.error = state, error
            self._changed.notify_all()
        self._on_change(version)
