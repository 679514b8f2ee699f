"""The records are values: frozen, and small on the wire."""

import msgspec
import pytest

from shared.snapshot import Node, ProxyConfig, Strategy


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        ProxyConfig().strategy = Strategy.LOWEST_LATENCY  # type: ignore[misc] - that is the test


def test_the_default_strategy_is_least_active() -> None:
    assert ProxyConfig().strategy is Strategy.LEAST_ACTIVE


def test_defaults_take_no_room() -> None:
    node = Node(id="1", name="n", address="http://h:1")
    assert msgspec.json.encode(node) == b'{"id":"1","name":"n","address":"http://h:1"}'
