"""The API describes itself completely and without warnings."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator


@pytest.fixture(scope="module")
def schema() -> dict:
    return SchemaGenerator().get_schema(request=None, public=True)


def test_it_is_valid_and_without_warnings(tmp_path):
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml")
    )


def operations(schema: dict) -> dict[str, dict]:
    return {
        f"{method} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_tells_its_errors_in_the_one_shape(schema):
    for name, operation in operations(schema).items():
        errors = {code: answer for code, answer in operation["responses"].items() if code >= "400"}
        assert {"406", "503"} <= set(errors), name
        for answer in errors.values():
            reference = answer["content"]["application/json"]["schema"]["$ref"]
            assert reference == "#/components/schemas/Error", name


def test_what_needs_a_sign_in_says_so(schema):
    for name, operation in operations(schema).items():
        is_open = name.split("/")[-1] in {"login", "refresh", "logout"}
        assert bool(operation.get("security")) is not is_open, name
        assert "401" in operation["responses"], name


def test_paths_end_without_a_slash_and_every_operation_is_summed_up(schema):
    for name, operation in operations(schema).items():
        assert not name.endswith("/"), name
        assert operation["summary"], name


def test_operation_ids_are_unique(schema):
    ids = [operation["operationId"] for operation in operations(schema).values()]
    assert len(ids) == len(set(ids))
