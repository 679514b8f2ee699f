"""Models kept in memory by policy, on real fake nodes."""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from django.utils import timezone
from fakes.ollama_models import FakeModel

from control_plane.accounts.models import AuditRecord
from control_plane.common.claims import run_claim
from control_plane.jobs import runner, tasks, warming
from control_plane.jobs.models import Job, JobPart
from control_plane.nodes.client import NodeClient
from control_plane.nodes.memory import memory_of, memory_text
from control_plane.nodes.sweeps import probe_and_save
from control_plane.proxy_config.selectors import proxy_config_current
from control_plane.proxy_config.services import KEEP_WARM_TASK
from shared import keys, reports

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from rest_framework.test import APIClient

CONFIG = "/api/proxy/config"
WARM = "/api/proxy/models/warm"

pytestmark = pytest.mark.usefixtures("redis")


@pytest.fixture
def keep(as_operator: APIClient) -> Callable[..., None]:
    """Wish for copies of models in memory, through the API."""

    def keep(**copies: int) -> None:
        answer = as_operator.patch(CONFIG, {"warm_models": copies}, format="json")
        assert answer.status_code == 200, answer.data

    return keep


def look(*nodes: Any) -> None:
    """The model refresh."""
    probe_and_save([here.row for here in nodes], NodeClient.inventory, proxy_config_current())


def keep_warm() -> int:
    """One run of the policy, and of what it asked for."""
    asked = warming.models_keep_warm()
    assert asked is not None
    runner.jobs_run()
    return asked


def in_memory(here: Any) -> set[str]:
    return {listed["name"] for listed in here.fake.node.scheduler.listed()}


def shown(client: APIClient) -> dict[str, Any]:
    (row,) = client.get(WARM).data["results"]
    return row


def standings(client: APIClient) -> dict[str, str]:
    return {entry["node"]: entry["standing"] for entry in shown(client)["nodes"]}


def rest(minutes: float) -> None:
    """All loads of the policy were so much earlier."""
    gone = dt.timedelta(minutes=minutes)
    for job in Job.objects.all():
        Job.objects.filter(pk=job.pk).update(created_at=job.created_at - gone)
    for part in JobPart.objects.exclude(finished_at=None):
        JobPart.objects.filter(pk=part.pk).update(finished_at=part.finished_at - gone)


def nobody_used(*nodes: Any) -> None:
    """What the nodes hold was used long ago."""
    for here in nodes:
        here.row.inventory.refresh_from_db()
        memory = memory_of(here.row.inventory.memory)
        memory = msgspec.structs.replace(memory, used=dict.fromkeys(memory.used, 0.0))
        here.row.inventory.memory = memory_text(memory)
        here.row.inventory.save(update_fields=["memory"])


def test_so_many_nodes_as_are_wished_for_load_the_model_and_keep_it_for_a_day(
    node, keep, as_viewer: APIClient
) -> None:
    here = [node("qwen3:8b", name=name) for name in ("one", "two", "three")]
    other = node("llama3.2", name="four")
    keep(**{"Qwen3:8b": 2})
    assert shown(as_viewer) | {"nodes": []} == {
        "model": "qwen3:8b",
        "canonical": "registry.ollama.ai/library/qwen3:8b",
        "wanted": 2,
        "warm": 0,
        "loading": 0,
        "missing": 2,
        "detail": "It is loaded at the next model refresh.",
        "nodes": [],
    }
    assert keep_warm() == 2
    assert sorted(len(in_memory(each)) for each in here) == [0, 1, 1]
    assert in_memory(other) == set()
    row = shown(as_viewer)
    assert (row["warm"], row["missing"], row["detail"]) == (2, 0, "")
    assert sorted(entry["standing"] for entry in row["nodes"]) == ["ready", "warm", "warm"]
    expires_at = max(
        dt.datetime.fromisoformat(listed["expires_at"]).timestamp()
        for each in here
        for listed in each.fake.node.scheduler.listed()
    )
    assert expires_at - time.time() > 23 * 3_600
    assert keep_warm() == 0


def test_a_load_is_a_job_of_the_policy_with_its_audit_record(
    node, keep, as_viewer: APIClient
) -> None:
    node("qwen3:8b", name="one")
    keep(**{"qwen3:8b": 1})
    warming.models_keep_warm()
    assert standings(as_viewer) == {"one": "loading"}
    assert warming.models_keep_warm() == 0
    runner.jobs_run()
    (job,) = as_viewer.get("/api/proxy/jobs").data["results"]
    assert (job["kind"], job["model"], job["state"]) == ("load", "qwen3:8b", "succeeded")
    assert (job["is_warmth"], job["created_by"], job["keep_alive"]) == (True, None, "24h")
    record = AuditRecord.objects.get(action="model.load")
    assert (record.actor, record.after["nodes"]) == ("warmth", ["one"])


def test_what_is_in_memory_already_is_not_touched(node, keep) -> None:
    """Loaded by a client with options of its own after the last look: a load would undo them."""
    here = node("qwen3:8b", name="one")
    keep(**{"qwen3:8b": 1})
    assert warming.models_keep_warm() == 1
    body = {"model": "qwen3:8b", "prompt": "hi", "options": {"num_ctx": 8192}, "stream": False}
    post(here.fake.url + "/api/generate", body)
    runner.jobs_run()
    assert Job.objects.get().state == "succeeded"
    assert [listed["context_length"] for listed in here.fake.node.scheduler.listed()] == [8192]
    assert here.fake.node.scheduler.loads == 1
    assert keep_warm() == 0


def post(url: str, body: dict[str, Any]) -> None:
    asked = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert answer.status == 200


def test_a_model_that_is_unloaded_comes_back_and_who_unloads_it_is_told(
    node, keep, ask, as_viewer: APIClient
) -> None:
    here = node("qwen3:8b", "llama3.2", name="one")
    keep(**{"qwen3:8b": 1})
    keep_warm()
    job = ask("models/unload", model="qwen3:8b")
    detail = as_viewer.get(f"/api/proxy/jobs/{job.pk}").data
    assert "qwen3:8b is kept warm and will be loaded again" in detail["notice"]
    runner.jobs_run()
    look(here)
    assert in_memory(here) == set()
    assert standings(as_viewer) == {"one": "waiting"}
    assert keep_warm() == 0
    rest(minutes=2)
    assert keep_warm() == 1
    assert in_memory(here) == {"qwen3:8b"}


def test_no_notice_where_nothing_comes_back(node, keep, ask, as_viewer: APIClient) -> None:
    node("qwen3:8b", "llama3.2", name="one")
    keep(**{"qwen3:8b": 1})
    for path, model in (("models/unload", "llama3.2"), ("models/load", "qwen3:8b")):
        job = ask(path, model=model)
        assert as_viewer.get(f"/api/proxy/jobs/{job.pk}").data["notice"] == ""


def test_a_load_that_failed_waits_twice_as_long_each_time(node, keep, as_viewer: APIClient) -> None:
    here = node("qwen3:8b", name="one")
    here.fake.fault("status", path="/api/generate", status=500, text="no luck")
    keep(**{"qwen3:8b": 1})
    for tries in (1, 2, 3):
        assert keep_warm() == 1
        (entry,) = shown(as_viewer)["nodes"]
        assert entry["standing"] == "waiting"
        wait_s = (entry["not_before"] - timezone.now()).total_seconds()
        assert 30 * 2 ** (tries - 1) < wait_s <= 60 * 2 ** (tries - 1)
        assert keep_warm() == 0
        rest(minutes=wait_s / 60 + 0.1)
    here.fake.clear_faults()
    assert keep_warm() == 1
    assert in_memory(here) == {"qwen3:8b"}


def test_nothing_that_is_in_use_is_pushed_out(node, keep, ask, as_viewer: APIClient) -> None:
    here = node("qwen3:8b", "llama3.2", name="one", max_loaded=1)
    ask("models/load", model="llama3.2")
    runner.jobs_run()
    keep(**{"qwen3:8b": 1})
    assert keep_warm() == 0
    assert standings(as_viewer) == {"one": "in_use"}
    assert shown(as_viewer)["detail"] == "No node can load it now; each says why."
    assert in_memory(here) == {"llama3.2:latest"}
    nobody_used(here)
    assert keep_warm() == 1
    assert in_memory(here) == {"qwen3:8b"}


def test_of_two_kept_models_that_do_not_fit_one_stays_and_the_other_says_why(
    node, keep, as_viewer: APIClient
) -> None:
    here = node("qwen3:8b", "llama3.2", name="one", max_loaded=1)
    keep(**{"llama3.2": 1, "qwen3:8b": 1})
    loads = 0
    for _ in range(6):
        loads += keep_warm()
        nobody_used(here)
        rest(minutes=61)
    assert loads == 2
    assert in_memory(here) == {"qwen3:8b"}
    rows = as_viewer.get(WARM).data["results"]
    assert [entry["standing"] for row in rows for entry in row["nodes"]] == ["no_room", "warm"]


def test_two_kept_models_that_fit_are_both_loaded(node, keep, as_viewer: APIClient) -> None:
    here = node("qwen3:8b", "llama3.2", name="one")
    keep(**{"llama3.2": 1, "qwen3:8b": 1})
    assert keep_warm() == 1  # a node gets one load at a time
    nobody_used(here)
    assert keep_warm() == 1
    assert in_memory(here) == {"llama3.2:latest", "qwen3:8b"}


def test_the_node_that_works_least_loads_it(node, keep, redis: Redis) -> None:
    busy, idle = node("qwen3:8b", name="a-busy"), node("qwen3:8b", name="b-idle")
    counts = {str(busy.row.pk): reports.NodeReport(active_count=3)}
    now = time.time()
    report = reports.Report(
        instance="dp",
        version="1",
        host="here",
        pid=1,
        started_at=now,
        reported_at=now,
        epoch="",
        revision=0,
        ready=True,
        draining=False,
        requests_total=0,
        nodes=counts,
    )
    redis.set(keys.report("dp"), reports.encode(report))
    redis.zadd(keys.INSTANCES, {"dp": now})
    keep(**{"qwen3:8b": 1})
    assert keep_warm() == 1
    assert (in_memory(busy), in_memory(idle)) == (set(), {"qwen3:8b"})


def test_a_model_on_too_few_disks_says_so(node, keep, make_node, as_viewer: APIClient) -> None:
    node("qwen3:8b", name="one")
    make_node(name="down", health="unhealthy")
    keep(**{"qwen3:8b": 2})
    assert keep_warm() == 1
    row = shown(as_viewer)
    assert (row["warm"], row["missing"]) == (1, 1)
    assert row["detail"].startswith("1 node(s) of the active pool have it on disk, and 2 copies")


def test_a_model_of_no_node_is_shown_as_missing(keep, as_viewer: APIClient) -> None:
    keep(**{"qwen3:8b": 1})
    assert keep_warm() == 0
    row = shown(as_viewer)
    assert (row["missing"], row["nodes"]) == (1, [])
    assert row["detail"].startswith("0 node(s)")


def test_an_embedding_model_is_kept_too(node, keep) -> None:
    here = node("nomic-embed-text", name="one")
    keep(**{"nomic-embed-text": 1})
    assert keep_warm() == 1
    assert in_memory(here) == {"nomic-embed-text:latest"}


def test_another_address_is_another_memory(node, as_operator: APIClient, start_node) -> None:
    here = node("qwen3:8b", name="one")
    here.row.inventory.memory = '{"most":{"count":3,"size_bytes":9}}'
    here.row.inventory.save()
    moved = start_node(models=["llama3.2"])
    url = f"/api/proxy/nodes/{here.row.pk}"
    assert as_operator.patch(url, {"address": moved.url}).status_code == 200
    here.row.inventory.refresh_from_db()
    memory = memory_of(here.row.inventory.memory)
    assert memory.most.count == 0


def test_a_changed_wish_wakes_the_policy_by_its_name(
    keep, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with django_capture_on_commit_callbacks() as calls:
        keep(**{"qwen3:8b": 1})
    assert [call.args[0].task for call in calls] == [tasks.keep_warm.name] == [KEEP_WARM_TASK]


def test_two_runs_do_not_ask_at_once(node, keep) -> None:
    node("qwen3:8b", name="one")
    keep(**{"qwen3:8b": 1})
    with run_claim("jobs.keep_warm", 30.0):
        assert warming.models_keep_warm() is None
    assert not Job.objects.exists()


def test_nothing_is_asked_for_while_nothing_is_wished_for(node, as_viewer: APIClient) -> None:
    node("qwen3:8b", name="one")
    assert keep_warm() == 0
    assert as_viewer.get(WARM).data["results"] == []


def test_the_list_takes_pages_and_nothing_else(keep, as_viewer: APIClient) -> None:
    keep(a=1, b=1, c=1)
    page = as_viewer.get(f"{WARM}?limit=1&offset=1").data
    assert (page["count"], [row["model"] for row in page["results"]]) == (3, ["b:latest"])
    refused = as_viewer.get(f"{WARM}?model=a")
    assert (refused.status_code, refused.data["code"]) == (400, "invalid_filter")


@pytest.mark.parametrize(
    ("policy", "standing"),
    [("majority", ["other_version", "ready", "ready"]), ("any", ["ready", "ready", "ready"])],
)
def test_a_version_that_is_not_served_is_not_loaded(
    policy: str, standing: list[str], node, keep, as_operator: APIClient
) -> None:
    node("qwen3:8b", name="two")
    node("qwen3:8b", name="three")
    node(FakeModel("qwen3:8b", digest="f" * 64), name="one")
    as_operator.patch(CONFIG, {"digest_drift": policy})
    keep(**{"qwen3:8b": 1})
    found = {entry["node"]: entry["standing"] for entry in shown(as_operator)["nodes"]}
    assert [found[name] for name in ("one", "two", "three")] == standing
