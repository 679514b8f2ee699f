from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from control_plane.common.claims import run_claim
from control_plane.nodes import sweeps
from control_plane.nodes.client import NodeClient
from control_plane.nodes.models import Node
from control_plane.nodes.services import By, node_update
from control_plane.nodes.work import Work
from control_plane.proxy_config.selectors import proxy_config_current
from control_plane.proxy_config.services import proxy_config_update
from control_plane.revisions.selectors import revision_current
from shared import keys, reports

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

pytestmark = pytest.mark.usefixtures("redis")


def sweep_again() -> int | None:
    Node.objects.update(check_claimed_at=None)
    return sweeps.sweep_health()


def refresh_again() -> int | None:
    Node.objects.update(refresh_claimed_at=None)
    return sweeps.refresh_models()


def test_three_failures_take_a_node_down_and_two_good_probes_bring_it_back(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    fake = start_node()
    node = make_node(address=fake.url)
    start = revision_current()[1]
    fake.fault("status", path="/api/version", status=500)
    seen = []
    for _ in range(3):
        assert sweep_again() == 1
        node.refresh_from_db()
        seen.append(node.health)
    assert seen == ["healthy", "healthy", "unhealthy"]
    assert (node.health_reason, revision_current()[1]) == ("unreachable", start + 1)
    fake.clear_faults()
    seen = []
    for _ in range(2):
        sweep_again()
        node.refresh_from_db()
        seen.append(node.health)
    assert seen == ["unhealthy", "healthy"]


def test_nodes_that_no_operator_wishes_are_probed_too(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    node = make_node(address=start_node().url, active=False, health="unknown", is_fresh=True)
    sweep_again()
    node.refresh_from_db()
    assert node.health == "healthy"
    assert node.last_seen_at is not None


def test_a_steady_node_moves_no_revision_but_its_latency_is_told(
    make_node: Callable[..., Node], start_node: Callable[..., Any], redis: Redis
) -> None:
    node = make_node(address=start_node().url, version="0.33.0")
    redis.hset(keys.LATENCIES, "gone", "1.0")
    start = revision_current()
    sweep_again()
    sweep_again()
    assert revision_current() == start
    told = redis.hgetall(keys.LATENCIES)
    assert told.keys() == {str(node.pk).encode()}
    assert 0 < float(told[str(node.pk).encode()]) < 1
    assert abs(float(redis.get(keys.SWEEP_FINISHED_AT)) - time.time()) < 5


def test_a_node_is_due_again_after_the_interval_and_a_changed_interval_counts_at_once(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    make_node(address=start_node().url)
    assert sweeps.sweep_health() == 1
    assert sweeps.sweep_health() == 0
    ago = timezone.now() - dt.timedelta(seconds=10)
    Node.objects.update(check_claimed_at=ago)
    assert sweeps.sweep_health() == 0
    proxy_config_update({"health_interval_s": 5.0}, "test")
    assert sweeps.sweep_health() == 1


def test_a_claim_from_before_the_clock_was_set_back_does_not_last(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    make_node(address=start_node().url)
    Node.objects.update(check_claimed_at=timezone.now() + dt.timedelta(hours=1))
    assert sweeps.sweep_health() == 1


def test_a_backlog_of_ticks_is_one_sweep(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    """F60."""
    fake = start_node(health_route=True)
    make_node(address=fake.url)
    for _ in range(20):
        sweeps.sweep_health()
    assert len(fake.requests) == 1


def test_a_sweep_does_not_overlap_itself(make_node: Callable[..., Node]) -> None:
    """F57."""
    make_node()
    with run_claim("nodes.sweep_health", 10.0):
        assert sweeps.sweep_health() is None
    with run_claim("nodes.refresh_models", 10.0):
        assert sweeps.refresh_models() is None


@pytest.mark.parametrize(
    ("interval_s", "timeout_s", "most_s"), [(2.0, 0.5, 4.0), (60.0, 2.0, 60.0), (0.5, 2.0, 4.0)]
)
def test_a_killed_sweep_holds_nobody_up_for_long(
    db: None, redis: Redis, interval_s: float, timeout_s: float, most_s: float
) -> None:
    """F56."""
    changes = {"health_interval_s": interval_s, "probe_timeout_s": timeout_s}
    proxy_config_update(changes, "test")
    with run_claim("nodes.sweep_health", sweeps.ttl_s(Work.CHECK, proxy_config_current())):
        assert 0 < redis.pttl(keys.claim("nodes.sweep_health")) <= most_s * 1_000


@pytest.mark.django_db(transaction=True)
def test_two_claims_at_once_share_no_node(make_node: Callable[..., Node]) -> None:
    for _ in range(40):
        make_node()
    config = proxy_config_current()
    began = timezone.now()
    barrier = threading.Barrier(4)
    taken: list[list[uuid.UUID]] = []

    def claim() -> None:
        barrier.wait()
        taken.append([node.pk for node in sweeps.nodes_claim(Work.CHECK, began, config)])
        connection.close()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claimed = [pk for batch in taken for pk in batch]
    assert len(claimed) == len(set(claimed)) == 40


def test_what_was_found_of_an_older_address_is_dropped(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    node = make_node(address=start_node().url)
    batch = sweeps.nodes_claim(Work.CHECK, timezone.now(), proxy_config_current())
    node_update(node.pk, {"active": False}, By("test"))
    edited = Node.objects.get(pk=node.pk)
    sweeps.probe_and_save(batch, NodeClient.health, proxy_config_current())
    node.refresh_from_db()
    assert (node.last_seen_at, node.successes) == (edited.last_seen_at, edited.successes)


def test_only_a_changed_inventory_moves_the_revision(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    fake = start_node(models=["llama3.2"])
    node = make_node(address=fake.url)
    refresh_again()
    first = revision_current()[1]
    refresh_again()
    assert revision_current()[1] == first
    fake.node.library.add("qwen3:8b")
    refresh_again()
    assert revision_current()[1] == first + 1
    fake.node.library.remove("llama3.2")
    refresh_again()
    node.inventory.refresh_from_db()
    assert node.inventory.names == "\nregistry.ollama.ai/library/qwen3:8b\n"


def test_nodes_in_standby_are_not_asked_for_models(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    fake = start_node()
    make_node(address=fake.url, health="unhealthy")
    assert refresh_again() == 0
    assert fake.requests == []


def test_a_node_that_a_data_plane_has_changed_is_looked_at_by_the_next_tick(
    make_node: Callable[..., Node], start_node: Callable[..., Any], redis: Redis
) -> None:
    fake = start_node(models=["llama3.2"])
    node = make_node(address=fake.url)
    assert sweeps.refresh_models() == 1
    fake.node.library.add("qwen3:8b")
    redis.sadd(keys.STALE_INVENTORY, str(node.pk), "garbage", b"\xff\xfe", str(uuid.uuid4()))
    assert sweeps.refresh_models() == 1
    node.inventory.refresh_from_db()
    assert "qwen3:8b" in node.inventory.names
    assert not redis.exists(keys.STALE_INVENTORY)
    assert sweeps.refresh_models() == 0


def test_one_tick_takes_a_bounded_number_of_changed_nodes(
    make_node: Callable[..., Node], redis: Redis
) -> None:
    redis.sadd(keys.STALE_INVENTORY, *(str(uuid.uuid4()) for _ in range(sweeps.MAX_TOLD + 3)))
    assert sweeps.refresh_models() is not None
    assert redis.scard(keys.STALE_INVENTORY) == 3


def test_a_data_plane_that_found_a_model_gone_has_the_node_looked_at(
    make_node: Callable[..., Node], start_node: Callable[..., Any], redis: Redis
) -> None:
    node = make_node(address=start_node().url)
    ago = timezone.now() - dt.timedelta(seconds=20)
    Node.objects.update(refresh_claimed_at=ago)
    assert sweeps.refresh_models() == 0
    report = reports.Report(
        instance="a",
        version="1",
        host="h",
        pid=1,
        started_at=0.0,
        reported_at=time.time(),
        epoch="",
        revision=0,
        ready=True,
        draining=False,
        requests_total=0,
        nodes={},
        refresh_wanted=("garbage", str(node.pk)),
    )
    redis.set(keys.report("a"), reports.encode(report))
    redis.zadd(keys.INSTANCES, {"a": time.time()})
    assert sweeps.refresh_models() == 1
    assert sweeps.refresh_models() == 0
