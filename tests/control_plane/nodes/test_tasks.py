from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from control_plane.nodes import tasks
from control_plane.nodes.models import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.usefixtures("redis")


def test_the_names_are_those_of_the_schedule_and_of_the_wake_ups() -> None:
    names = {tasks.sweep_health.name, tasks.refresh_models.name, tasks.check_node.name}
    assert names == {"nodes.sweep_health", "nodes.refresh_models", "nodes.check_node"}


def test_a_woken_check_takes_a_fresh_node_out_of_standby_with_its_models(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    node = make_node(address=start_node().url, health="unhealthy", is_fresh=True)
    assert tasks.check_node(str(node.pk)) == "ok"
    node.refresh_from_db()
    assert (node.health, node.inventory.available_count) == ("healthy", 1)


def test_a_node_that_is_gone_meanwhile_is_nothing_to_do(db: None) -> None:
    assert tasks.check_node(str(uuid.uuid4())) is None


def test_without_redis_a_tick_ends_quietly(db: None, settings: SettingsWrapper) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert tasks.sweep_health() is None
    assert tasks.refresh_models() is None


def test_a_look_at_the_models_wakes_whoever_keeps_them_warm(
    make_node: Callable[..., Node],
    start_node: Callable[..., Any],
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    make_node(address=start_node().url)
    for is_woken in (True, False):  # the second time no node is due
        with django_capture_on_commit_callbacks() as calls:
            tasks.refresh_models()
        assert ("jobs.keep_warm" in {call.args[0].task for call in calls}) is is_woken
