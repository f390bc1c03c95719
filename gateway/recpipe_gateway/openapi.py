"""The API's description (OpenAPI 3.1), made from the endpoints themselves."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from recpipe.admission import Identifier
from recpipe_gateway.answers import ErrorBody
from recpipe_gateway.endpoint import JSON, Endpoint
from recpipe_gateway.keys import Role

TEXT: Final = "text/plain"
_COMPONENT: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_RETRIED: Final = (429, 503)
_KEYS: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "url": {"type": "apiKey", "in": "query", "name": "key", "description": "The public key only."},
}


def describe(endpoints: Sequence[Endpoint], title: str, version: str) -> dict[str, Any]:
    """The whole document."""
    schemas = _Schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operations = paths.setdefault(_PARAMETER.sub(r"{\1}", endpoint.path), {})
        operations[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _KEYS},
    }


class _Schemas:
    """JSON schemas of every type that the endpoints name."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        types: list[Any] = [Identifier, ErrorBody]
        for endpoint in endpoints:
            types += [
                kind for kind in (*endpoint.body.values(), *endpoint.answers.values()) if kind is not None
            ]
        found, self.components = msgspec.json.schema_components(types, ref_template=_COMPONENT)
        self._by_type = list(zip(types, found, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        return next(schema for known, schema in self._by_type if known is kind)


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    place = re.sub(r"[^a-z]+", "_", endpoint.path.partition(":")[0])
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()}_{place.strip('_')}",
        "parameters": [*_path_parameters(endpoint, schemas), *_query_parameters(endpoint)],
        "responses": {
            **{str(status): _answer(status, kind, schemas) for status, kind in endpoint.answers.items()},
            **{str(status): _answer(status, ErrorBody, schemas) for status in sorted(endpoint.all_refusals)},
        },
    }
    if endpoint.needs is not Role.ANYONE:
        names = ["bearer", "header", *(["url"] if endpoint.key_in_url else [])]
        operation["security"] = [{name: []} for name in names]
    if endpoint.body:
        operation["requestBody"] = {
            "required": True,
            "content": {media: {"schema": schemas.of(kind)} for media, kind in endpoint.body.items()},
        }
    return operation


def _answer(status: int, kind: Any, schemas: _Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if kind is not None:
        answer["content"] = {TEXT if kind is str else JSON: {"schema": schemas.of(kind)}}
    if status in _RETRIED:
        answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return answer


def _path_parameters(endpoint: Endpoint, schemas: _Schemas) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": schemas.of(Identifier)}
        for name in _PARAMETER.findall(endpoint.path)
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    _, components = msgspec.json.schema_components([endpoint.query])
    schema: Mapping[str, Any] = components[endpoint.query.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": _present(each),
        }
        for name, each in schema["properties"].items()
    ]


def _present(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A query string has no null: an optional parameter is absent instead."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    return choices[0] if choices else schema
