from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from control_plane.nodes.inventory import Inventory, encode_available
from control_plane.nodes.models import Node, NodeInventory
from control_plane.revisions.selectors import revision_current
from control_plane.state.selectors import models_merged
from shared import keys, reports
from shared.reports import NodeReport, RefusedRevision
from shared.snapshot import Model

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper
    from redis import Redis
    from rest_framework.test import APIClient

STATE = "/api/proxy/state"
ACTIVE = "/api/proxy/active-requests"


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Revisions repeat from test to test; in a process they do not."""
    models_merged.cache_clear()


def make(name: str, **columns: object) -> Node:
    number = Node.objects.count() + 1
    columns = {"health": "healthy", "latency_s": 0.5, **columns}
    return Node.objects.create(name=name, address=f"http://10.0.0.{number}:11434", **columns)


def report(
    redis: Redis,
    instance: str,
    nodes: dict[str, NodeReport],
    refused: RefusedRevision | None = None,
) -> None:
    now = time.time()
    epoch, revision = revision_current()
    told = reports.Report(
        instance=instance,
        version="0.1.0",
        host="here",
        pid=1,
        started_at=now - 100,
        reported_at=now,
        epoch=epoch,
        revision=revision,
        ready=True,
        draining=False,
        requests_total=42,
        nodes=nodes,
        refused=refused,
    )
    redis.set(keys.report(instance), reports.encode(told), ex=keys.REPORT_TTL_S)
    redis.zadd(keys.INSTANCES, {instance: now})


def test_pools_are_what_operator_sweep_and_every_data_plane_agree_on(
    as_viewer: APIClient, redis: Redis
) -> None:
    good, off, sick = (
        make("good"),
        make("off", active=False),
        make("sick", health="unhealthy", health_reason="timeout"),
    )
    half, lost = make("half"), make("lost")
    seen = NodeReport(standby="refused")
    report(redis, "one", {str(half.pk): seen, str(lost.pk): seen})
    report(redis, "two", {str(lost.pk): seen})
    state = as_viewer.get(STATE).data
    assert {node["name"]: node["doubts"] for node in state["active"]}.keys() == {"good", "half"}
    doubts = next(node["doubts"] for node in state["active"] if node["name"] == "half")
    assert [(doubt["by"], doubt["instance"], doubt["code"]) for doubt in doubts] == [
        ("data_plane", "one", "refused")
    ]
    standby = {
        node["name"]: [(why["by"], why["code"]) for why in node["reasons"]]
        for node in state["standby"]
    }
    assert standby == {
        "off": [("operator", "disabled")],
        "sick": [("sweep", "timeout")],
        "lost": [("data_plane", "refused"), ("data_plane", "refused")],
    }
    assert state["node_ids"] == {str(node.pk): node.name for node in (good, off, sick, half, lost)}


def test_active_counts_are_summed_over_the_fleet(as_viewer: APIClient, redis: Redis) -> None:
    busy, idle = make("busy"), make("idle")
    report(redis, "one", {str(busy.pk): NodeReport(active_count=2)})
    report(redis, "two", {str(busy.pk): NodeReport(active_count=3)})
    state = as_viewer.get(STATE).data
    assert state["active_counts"] == {str(busy.pk): 5, str(idle.pk): 0}
    assert state["active"][0]["active_counts"] == {"one": 2, "two": 3}
    answer = as_viewer.get(ACTIVE).data
    assert answer["active_requests"] == 5
    one = as_viewer.get(f"{ACTIVE}?node_id={busy.pk}").data
    assert (one["active_requests"], len(one["nodes"])) == (5, 1)
    assert one["nodes"][0]["by_instance"] == {"one": 2, "two": 3}


@pytest.mark.parametrize("node_id", ["x", "", "6f0d8a6e-0f9c-4f1e-9a53-7a3c1f0c9b11"])
def test_a_node_that_is_nobody_is_404(as_viewer: APIClient, redis: Redis, node_id: str) -> None:
    assert as_viewer.get(f"{ACTIVE}?node_id={node_id}").status_code == 404


def test_instances_tell_what_they_applied_and_refused(as_viewer: APIClient, redis: Redis) -> None:
    refused = RefusedRevision(epoch="e", revision=9, reason="bad_signature")
    report(redis, "here", {}, refused)
    redis.zadd(keys.INSTANCES, {"gone": time.time() - 60, "forgotten": time.time() - 7_200})
    gone, here = as_viewer.get(STATE).data["instances"]
    assert (gone["instance"], gone["live"], gone["applied"]) == ("gone", False, "silent")
    assert 59 < gone["age_s"] < 65
    assert (here["applied"], here["revision"]) == ("current", revision_current()[1])
    assert here["refused"] == {"epoch": "e", "revision": 9, "reason": "bad_signature"}
    assert 99 < here["uptime_s"] < 105
    assert here["requests_total"] == 42


def test_latencies_are_the_sweeps_newest(as_viewer: APIClient, redis: Redis) -> None:
    swept, old = make("swept"), make("old")
    redis.hset(keys.LATENCIES, str(swept.pk), "0.125")
    assert as_viewer.get(STATE).data["latencies"] == {str(swept.pk): 0.125, str(old.pk): 0.5}


def test_models_are_counted_once_with_their_holders_and_drift(
    as_viewer: APIClient, redis: Redis
) -> None:
    for number, digest in enumerate(["a", "a", "b"]):
        llama = Model(
            name="llama3:latest",
            canonical="registry.ollama.ai/library/llama3:latest",
            digest=digest,
        )
        held = Inventory(available=encode_available([(llama, "2026")]))
        NodeInventory.objects.create(node=make(f"n{number}"), available=held.available)
    (model,) = as_viewer.get(STATE).data["models"]
    assert (model["name"], model["nodes"], model["digests"]) == ("llama3:latest", 3, 2)


def test_without_redis_the_database_half_is_answered_quickly(
    as_viewer: APIClient, settings: SettingsWrapper
) -> None:
    node = make("n")
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    began = time.monotonic()
    answer = as_viewer.get(STATE)
    assert answer.status_code == 200
    assert answer.data["reports_available"] is False
    assert answer.data["active"][0]["name"] == "n"
    assert answer.data["active_counts"] == {str(node.pk): None}
    assert answer.data["latencies"] == {str(node.pk): 0.5}
    assert as_viewer.get(ACTIVE).data == {
        "reports_available": False,
        "active_requests": None,
        "nodes": [
            {"node_id": str(node.pk), "name": "n", "active_requests": None, "by_instance": {}}
        ],
    }
    assert time.monotonic() - began < 3.0


def test_a_report_that_cannot_be_read_is_a_silent_instance(
    as_viewer: APIClient, redis: Redis
) -> None:
    redis.set(keys.report("odd"), b"not json")
    redis.zadd(keys.INSTANCES, {"odd": time.time()})
    (odd,) = as_viewer.get(STATE).data["instances"]
    assert (odd["live"], odd["applied"]) == (False, "silent")


def test_fields_thin_the_answer_out(as_viewer: APIClient, redis: Redis) -> None:
    assert as_viewer.get(f"{STATE}?fields=active_counts,revision").data.keys() == {
        "active_counts",
        "revision",
    }
    refused = as_viewer.get(f"{STATE}?fields=secrets")
    assert (refused.status_code, refused.data["code"]) == (400, "invalid_filter")
