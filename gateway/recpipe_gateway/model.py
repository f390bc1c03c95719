"""Asking the model: concurrent questions in one Predict, within the deadline, and never in vain."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from recpipe.horizon import SIGNATURES, TASTE_INPUTS, Horizon
from recpipe_gateway.breaker import CircuitBreaker, CircuitOpenError
from recpipe_gateway.coalescer import Coalescer, OverloadedError
from recpipe_gateway.metrics import PREDICT_BATCH, PREDICT_SECONDS
from recpipe_gateway.tensors import Question, Ranking, inputs_of, rankings_of
from recpipe_model.client import Prediction, ServingError

log = logging.getLogger(__name__)

BATCH, WAITING = {Horizon.NEXT: 32, Horizon.TASTE: 4}, 512
"""Questions in one Predict (of the taste each ranks the whole catalogue), and that may wait for the next."""


class ModelDownError(Exception):
    """The model gives no answer in time, or is left alone because it did not lately."""


class PredictClient(Protocol):
    async def predict(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        timeout: float,  # noqa: ASYNC109 - gRPC's
    ) -> Prediction: ...


class Model:
    """One served model, asked for one horizon.

    Args:
        client: of the TensorFlow Serving API.
        name: of the model, which is the pipeline's.
        deadline: seconds in which an answer must be there.
        live: the newest live blob.
        horizon: what is asked. Each has questions of its own shape, and failures of its own.
    """

    def __init__(
        self,
        client: PredictClient,
        name: str,
        deadline: float,
        live: Callable[[], bytes],
        horizon: Horizon = Horizon.NEXT,
    ) -> None:
        self._client, self._name, self._deadline, self._live = client, name, deadline, live
        self._horizon = horizon
        self._breaker = CircuitBreaker()
        self._questions: Coalescer[Question, Ranking] = Coalescer(
            self._predict, batch=BATCH[horizon], waiting=WAITING
        )

    @property
    def answers(self) -> bool:
        """Whether the latest calls were answered."""
        return self._breaker.closed

    async def rank(self, question: Question) -> Ranking:
        """The model's ranking; raises ModelDownError at the deadline at the latest."""
        if not self._breaker.admits:
            raise ModelDownError("it failed lately")
        try:
            async with asyncio.timeout(self._deadline):
                return await self._questions.submit(question)
        except (ServingError, CircuitOpenError, OverloadedError, TimeoutError, ValueError, KeyError) as error:
            raise ModelDownError(str(error)) from error

    async def _predict(self, questions: Sequence[Question]) -> list[Ranking]:
        was_closed = self._breaker.closed
        try:
            with self._breaker.watching(), PREDICT_SECONDS.time():
                PREDICT_BATCH.observe(len(questions))
                inputs = inputs_of(questions, self._live())
                if self._horizon is Horizon.TASTE:
                    inputs = {name: inputs[name] for name in TASTE_INPUTS}
                outputs = await self._client.predict(
                    self._name, SIGNATURES[self._horizon], inputs, timeout=self._deadline
                )
                return rankings_of(outputs, outputs.version, questions)
        except Exception as error:
            if was_closed and not self._breaker.closed:
                log.warning("the model does not answer, going on without it: %s", error)
            raise
