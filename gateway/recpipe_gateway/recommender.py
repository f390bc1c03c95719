"""Recommendations: the user's state, the model, the rules, and what is answered when one is missing."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from recpipe import live
from recpipe.catalogue import Item
from recpipe.horizon import Horizon
from recpipe.records import Impression
from recpipe.spec import PipelineSpec
from recpipe.state import Touch, UserState
from recpipe_gateway.history import Recent, recent
from recpipe_gateway.impressions import Impressions
from recpipe_gateway.metrics import RECOMMENDATIONS
from recpipe_gateway.model import Model, ModelDownError
from recpipe_gateway.reads import LiveInputs, StoreDownError, StoreReads, distinct
from recpipe_gateway.rules import Rules
from recpipe_gateway.tensors import Candidate, Question, Ranking

ROWS = 20
"""Of the newest items, those whose live neighbour rows are read (R)."""
FALLBACK = 200
"""Neighbours looked at when the model is down."""
PURCHASE = "purchase"

Degraded = Literal["", "model", "store"]


class Answer(msgspec.Struct, kw_only=True):
    """A list of items, best first."""

    items: list[Candidate]
    model_version: int = 0
    """0 where the model did not rank them."""
    degraded: Degraded = ""
    """The part that was missing: without the model, live neighbours and popular items; without the store,
    popular items."""


class Recommendations(Answer, kw_only=True):
    """An answer for a user."""

    request_id: str
    user_id: str
    events: int
    """Of the user, as the answer knows them."""


@dataclass(frozen=True)
class Wish:
    """What is asked for, beside for whom.

    Attributes:
        k: items at most.
        context: `key=value` pairs.
        exclude: items never shown.
        category: only items of this category, where one is named.
        titles: whether to say them.
        horizon: what comes next, or what the user likes at all.
    """

    k: int
    context: Sequence[str] = ()
    exclude: Sequence[str] = ()
    category: str = ""
    titles: bool = False
    horizon: Horizon = Horizon.NEXT


class Recommender:
    """Two reads of the store (state, rows), one call of the model; a third read where metadata is needed.

    The taste needs no rows.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        reads: StoreReads,
        inputs: LiveInputs,
        models: Mapping[Horizon, Model],
        impressions: Impressions,
    ) -> None:
        self._serving, self._min_weight = spec.serving, spec.model.min_weight
        self._reads, self._inputs, self._models, self._impressions = reads, inputs, models, impressions

    async def recommend(self, user: str, wish: Wish) -> Recommendations:
        """Always an answer, whatever is missing; recorded as an impression."""
        now = time.time()
        try:
            state = await self._reads.state(user)
        except StoreDownError:
            state, answer = UserState(), await self._popular_only(wish)
        else:
            history = state.history()
            excluded = [*wish.exclude, *self._unwanted(history)]
            known = recent(history, now, self._min_weight, wish.horizon)
            answer = await self._answer(known, wish, excluded)
        recommendations = Recommendations(
            request_id=uuid.uuid4().hex,
            user_id=user,
            items=answer.items,
            model_version=answer.model_version,
            degraded=answer.degraded,
            events=state.events,
        )
        self._record(recommendations, now)
        return recommendations

    async def similar(self, item: str, wish: Wish) -> Answer | None:
        """What a user who just met this one item would be shown; None for an item nothing is known of."""
        try:
            if not await self._reads.knows(item):
                return None
        except StoreDownError:
            return await self._popular_only(wish)
        return await self._answer(Recent([item], [0.0], [1.0]), wish, [*wish.exclude, item])

    async def popular(self, wish: Wish) -> Answer:
        """What is popular now; degraded where metadata was asked for and cannot be read."""
        return await self._dressed(Ranking(self._popular()), "", self._rules(wish, wish.exclude), wish)

    async def _popular_only(self, wish: Wish) -> Answer:
        return await self._dressed(Ranking(self._popular()), "store", self._rules(wish, wish.exclude), wish)

    async def _answer(self, recent: Recent, wish: Wish, excluded: Sequence[str]) -> Answer:
        rules = self._rules(wish, excluded)
        try:
            wanted = recent.items[:ROWS] if wish.horizon is Horizon.NEXT else []
            rows = await self._reads.rows(wanted)
        except StoreDownError:
            return await self._popular_only(wish)
        question = Question(*recent, rows, distinct(excluded), wish.context, rules.width)
        degraded: Degraded = ""
        try:
            ranking = await self._models[wish.horizon].rank(question)
        except ModelDownError:
            degraded, ranking = "model", Ranking(await self._neighbours(rows, recent.weights))
        return await self._dressed(ranking, degraded, rules, wish)

    async def _dressed(self, ranking: Ranking, degraded: Degraded, rules: Rules, wish: Wish) -> Answer:
        """The ranking by the rules, with titles where they are asked for."""
        metadata: dict[str, Item] = {}
        if wish.titles or rules.need_metadata:
            try:
                metadata = await self._reads.catalogue([each.item_id for each in ranking.candidates])
            except StoreDownError:
                degraded = "store"
        items = rules.choose(ranking.candidates, metadata)
        if wish.titles:
            for each in items:
                each.title = metadata[each.item_id].title if each.item_id in metadata else ""
        RECOMMENDATIONS.labels(degraded).inc()
        return Answer(items=items, model_version=ranking.version, degraded=degraded)

    def _rules(self, wish: Wish, excluded: Sequence[str]) -> Rules:
        return Rules(wish.k, frozenset(excluded), wish.category, self._serving.max_per_category)

    def _unwanted(self, history: Sequence[Touch]) -> list[str]:
        """Items of the user's own history that the spec leaves out."""
        if self._serving.exclude_seen:
            return [touch.item_id for touch in history]
        if self._serving.exclude_purchased:
            return [touch.item_id for touch in history if touch.event_type == PURCHASE]
        return []

    async def _neighbours(self, rows: Sequence[bytes], weights: Sequence[float]) -> list[Candidate]:
        """Without the model: what the live rows say, then what is popular."""
        indices, scores = live.approximate(rows, weights[: len(rows)])
        best = indices[:FALLBACK].tolist()
        try:
            names = await self._reads.names(best)
        except StoreDownError:
            names = {}
        found = [
            Candidate(names[index], score, why={"neighbours": round(score, 4)})
            for index, score in zip(best, scores.tolist(), strict=False)
            if index in names
        ]
        # Popular items come after, so their scores go below.
        return found + self._popular(scale=found[-1].score if found else 1.0)

    def _popular(self, scale: float = 1.0) -> list[Candidate]:
        return [
            Candidate(item, score * scale, why={"popular": round(score * scale, 4)})
            for item, score in self._inputs.popular
        ]

    def _record(self, answer: Recommendations, now: float) -> None:
        self._impressions.record(
            Impression(
                request_id=answer.request_id,
                user_id=answer.user_id,
                timestamp=int(now * 1_000),
                items=[each.item_id for each in answer.items],
                scores=[each.score for each in answer.items],
                propensity=1.0,
                model_version=answer.model_version,
                degraded=answer.degraded,
            )
        )
