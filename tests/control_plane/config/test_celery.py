from __future__ import annotations

from inspect import signature

from celery import shared_task
from django.conf import settings

from control_plane.common.requests import TASK_HEADER, current_request_id, request_id_enter
from control_plane.config.celery import app


@shared_task(name="tests.tell_request_id")
def tell_request_id() -> str:
    return current_request_id()


def test_every_task_of_the_schedule_exists():
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled <= set(app.tasks)
    assert {"nodes.sweep_health", "nodes.refresh_models", "publishing.reconcile"} <= scheduled


def test_a_tick_that_could_not_run_in_time_expires():
    """F60."""
    for entry in app.conf.beat_schedule.values():
        assert entry["options"]["expires"] == entry["schedule"]


def test_messages_are_json_and_short_lived():
    """F56, S44."""
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.task_publish_retry is False
    assert app.conf.broker_transport_options["visibility_timeout"] >= 60
    assert app.conf.broker_transport_options["socket_connect_timeout"] <= 2
    assert app.conf.broker_url == settings.REDIS_URL


def test_a_message_holds_an_id_or_nothing():
    """S47: whoever reads the broker learns which node, and of a node nothing."""
    app.loader.import_default_modules()
    ours = [task for name, task in app.tasks.items() if not name.startswith(("celery.", "tests."))]
    assert len(ours) >= 8
    for task in ours:
        asked = [(each.name, each.annotation) for each in signature(task.run).parameters.values()]
        assert asked in ([], [("node_id", "str")]), task.name


def test_a_task_goes_on_under_the_id_of_the_request_that_woke_it():
    """S39."""
    request_id_enter("the-caller")
    told = tell_request_id.apply(headers={TASK_HEADER: "req-1"})
    assert told.get() == "req-1"


def test_a_task_of_the_schedule_gets_an_id_of_its_own():
    request_id_enter("left-over-from-another")
    told = tell_request_id.apply().get()
    assert told
    assert told != "left-over-from-another"
