"""The data plane's OpenAPI document: valid, one operation for each route, and free to read."""

import json
import tomllib
from pathlib import Path

import pytest
from fakes.ollama import FakeOllama
from openapi_spec_validator import OpenAPIV31SpecValidator

from data_plane.protocol.dialects import STREAM_TYPES
from data_plane.protocol.matching import lookup
from data_plane.protocol.routes import OPEN_ENDED, ROUTES, Access, Action, Dialect, Framing, Route
from shared.codes import ErrorCode
from shared.credentials import mint
from shared.snapshot import ApiKey

ROOT = Path(__file__).parents[2]
DOCUMENT = json.loads((ROOT / "data_plane" / "openapi.json").read_text(encoding="utf-8"))
ERRORS = {
    Dialect.NATIVE: "OllamaError",
    Dialect.OPENAI: "OpenAIError",
    Dialect.ANTHROPIC: "AnthropicError",
}
EXAMPLES = {"{model}": "llama3.2", "{digest}": f"sha256:{'0' * 64}", "{encodedKey}": "abc"}
OPERATIONS = [
    pytest.param(method.upper(), path, operation, id=f"{method.upper()} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]


def route_of(method: str, path: str) -> Route:
    """The route that an operation's path finds."""
    for name, example in EXAMPLES.items():
        path = path.replace(name, example)
    return lookup(method, path).route


def request_schema(operation) -> dict:
    (content,) = operation["requestBody"]["content"].values()
    name = content["schema"]["$ref"].rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name]["properties"]


def test_it_is_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_it_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert DOCUMENT["info"]["version"] == project["version"]


def test_it_has_every_route_and_no_other() -> None:
    """A new route is described in data_plane/openapi.json in the same commit."""
    described = [route_of(method, path) for method, path, _ in (one.values for one in OPERATIONS)]
    assert {(route.method, route.path) for route in described} == {
        (route.method, route.path) for route in (*ROUTES, *OPEN_ENDED)
    }
    assert len(described) == len(ROUTES) + len(OPEN_ENDED)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_an_operation_says_what_the_route_does(method, path, operation) -> None:
    route = route_of(method, path)
    error = f"#/components/responses/{ERRORS[route.dialect]}"
    assert operation["responses"]["default"] == {"$ref": error}
    assert (operation.get("security") == []) == (route.access is Access.ANYONE)
    assert ("501" in operation["responses"]) == (route.action is Action.ONE_NODE)
    types = operation["responses"].get("200", {}).get("content", {})
    assert set(types) & set(STREAM_TYPES.values()) == (
        set() if route.framing is Framing.NONE else {STREAM_TYPES[route.framing]}
    )
    for key in route.model_keys:
        assert key in request_schema(operation)
    if route.framing is not Framing.NONE:
        stream = request_schema(operation)["stream"]
        assert stream["default"] is route.streams_by_default


def test_it_knows_every_error_code() -> None:
    known = DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"]
    assert sorted(known) == sorted(ErrorCode)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [operation["operationId"] for _, _, operation in (one.values for one in OPERATIONS)]
    assert len(set(names)) == len(names)


async def test_it_is_served_and_needs_no_key(plane) -> None:
    alice = mint()
    async with FakeOllama() as node:
        await plane.apply(node, keys=(ApiKey(id=alice.id, sha256=alice.sha256),))
        assert (await plane.get("/api/tags")).status == 401
        answer = await plane.get("/openapi.json")
    assert (answer.status, answer.json()) == (200, DOCUMENT)
    assert answer.headers["Content-Type"].startswith("application/json")
