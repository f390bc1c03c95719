"""GET /v1/recommendations, /v1/similar/{item} and /v1/popular."""

import time
from typing import Annotated

import msgspec
from starlette.responses import Response

from recpipe.admission import Identifier
from recpipe.horizon import Horizon
from recpipe_gateway.answers import Refusal, json_response
from recpipe_gateway.context import device_of, hour_of
from recpipe_gateway.endpoint import Call, Endpoint
from recpipe_gateway.recommender import Answer, Recommendations, Recommender, Wish

K = Annotated[int, msgspec.Meta(ge=1, le=100, description="Items at most.")]
Excluded = Annotated[
    list[Identifier], msgspec.Meta(max_length=200, description="Items never shown; may be repeated.")
]
Category = Annotated[str, msgspec.Meta(max_length=128, description="Only items of this category.")]
Device = Annotated[
    str,
    msgspec.Meta(
        pattern="^(mobile|tablet|desktop|unknown)$", description="Taken from the user agent where absent."
    ),
]
Hour = Annotated[int, msgspec.Meta(ge=0, le=23, description="UTC; the present hour where absent.")]
Ahead = Annotated[
    Horizon,
    msgspec.Meta(
        description="What comes next, the latest items counting most; or the taste: what the user likes at all."
    ),
]
Titles = Annotated[bool, msgspec.Meta(description="Whether to say the items' titles.")]


class ListQuery(msgspec.Struct, kw_only=True):
    k: K = 10
    category: Category = ""
    exclude: Excluded = []
    titles: Titles = False


class SimilarQuery(ListQuery, kw_only=True):
    horizon: Ahead = Horizon.NEXT
    device: Device | None = None
    hour: Hour | None = None


class RecommendationQuery(SimilarQuery, kw_only=True):
    user_id: Identifier


class RecommendationEndpoints:
    """The reading side of the API."""

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="GET",
                path="/v1/recommendations",
                summary="Items for a user, best first.",
                handle=self._recommend,
                query=RecommendationQuery,
                answers={200: Recommendations},
            ),
            Endpoint(
                method="GET",
                path="/v1/similar/{item:path}",
                summary="Items for a user who has just met one item.",
                handle=self._similar,
                query=SimilarQuery,
                answers={200: Answer},
                refusals=(404,),
            ),
            Endpoint(
                method="GET",
                path="/v1/popular",
                summary="Items that are popular now.",
                handle=self._popular,
                query=ListQuery,
                answers={200: Answer},
            ),
        ]

    async def _recommend(self, call: Call) -> Response:
        return json_response(await self._recommender.recommend(call.query.user_id, _wish(call)))

    async def _similar(self, call: Call) -> Response:
        item = call.identifier("item")
        answer = await self._recommender.similar(item, _wish(call))
        if answer is None:
            raise Refusal(404, "not_found", f"nothing is known of item {item!r}", "item")
        return json_response(answer)

    async def _popular(self, call: Call) -> Response:
        query = call.query
        wish = Wish(query.k, exclude=query.exclude, category=query.category, titles=query.titles)
        return json_response(await self._recommender.popular(wish))


def _wish(call: Call) -> Wish:
    query: SimilarQuery = call.query
    device = query.device or device_of(call.request.headers.get("user-agent", ""))
    hour = hour_of(time.time()) if query.hour is None else query.hour
    context = (f"device={device}", f"hour={hour}")
    return Wish(query.k, context, query.exclude, query.category, query.titles, query.horizon)
