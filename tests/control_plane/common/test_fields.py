from __future__ import annotations

import pytest
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from control_plane.common.errors import ApiError
from control_plane.common.fields import MAX_NAMED, SparseFieldsMixin, StrictFieldsMixin


class Thing(SparseFieldsMixin, StrictFieldsMixin, serializers.Serializer):
    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(required=False)
    size = serializers.IntegerField(required=False)


def shown(query: str, method: str = "GET") -> dict:
    request = Request(APIRequestFactory().generic(method, f"/?{query}"))
    thing = {"id": 1, "name": "a", "size": 2}
    return Thing(thing, context={"request": request}).data


def test_only_the_fields_that_were_asked_for_are_shown():
    assert shown("fields=id,%20name,") == {"id": 1, "name": "a"}
    assert set(shown("")) == {"id", "name", "size"}
    assert set(shown("fields=")) == {"id", "name", "size"}


def test_an_answer_to_a_write_is_whole():
    assert set(shown("fields=id", "POST")) == {"id", "name", "size"}


@pytest.mark.parametrize("query", ["fields=secret", "fields=id,__class__", "fields=name__x"])
def test_a_field_that_is_not_there_is_refused(query):
    with pytest.raises(ApiError) as caught:
        shown(query)
    assert caught.value.code == "invalid_filter"


@pytest.mark.parametrize("name", ["id", "nope", "", "__class__"])
def test_what_does_not_exist_or_cannot_be_set_is_named(name):
    serializer = Thing(data={"size": 3, name: 1})
    assert not serializer.is_valid()
    assert set(serializer.errors) == {name}


def test_an_answer_does_not_grow_with_what_was_sent():
    serializer = Thing(data={f"{'x' * 500}{number}": 1 for number in range(1_000)})
    assert not serializer.is_valid()
    assert len(serializer.errors) <= MAX_NAMED
    assert all(len(name) <= 64 for name in serializer.errors)
