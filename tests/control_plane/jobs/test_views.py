from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from control_plane.accounts.models import AuditRecord
from control_plane.jobs import runs, services
from control_plane.jobs.models import Job, JobPart
from control_plane.nodes.models import Node
from shared.registries import Registries
from shared.snapshot import Verdict

if TYPE_CHECKING:
    from rest_framework.test import APIClient

PULL = "/api/proxy/pull"
MODELS = "/api/proxy/models"
JOBS = "/api/proxy/jobs"

pytestmark = pytest.mark.usefixtures("db")


def give(row: Node, *canonical: str) -> None:
    """The row says that these models are on its disk."""
    row.inventory.names = "\n" + "\n".join(canonical) + "\n"
    row.inventory.available_count = len(canonical)
    row.inventory.save()


def library(name: str) -> str:
    return f"registry.ollama.ai/library/{name}"


def end(state: str, **columns: Any) -> None:
    """Every job is over, like this."""
    JobPart.objects.update(state=state)
    Job.objects.update(state=state, finished_at=timezone.now(), **columns)


def test_a_job_is_accepted_written_down_and_audited(make_node, as_operator: APIClient) -> None:
    make_node(name="one")
    answer = as_operator.post(PULL, {"model": "registry.ollama.ai/library/qwen3:8b"})
    assert answer.status_code == 202
    job = answer.data
    assert answer["Location"] == f"{JOBS}/{job['id']}"
    assert (job["kind"], job["state"], job["model"]) == ("pull", "queued", "qwen3:8b")
    assert (job["percent"], job["created_by"]) == (None, "bob")
    assert job["nodes"]["queued"] == 1
    assert [part["node"] for part in job["parts"]] == ["one"]
    record = AuditRecord.objects.get(action="model.pull")
    assert (record.actor, record.target) == ("bob", "model:qwen3:8b")
    assert (record.after["job"], record.after["nodes"]) == (job["id"], ["one"])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (PULL, {}, "model"),
        (PULL, {"model": "a/b/c/d"}, "model"),
        (PULL, {"model": ""}, "model"),
        (PULL, {"model": "x" * 600}, "model"),
        (PULL, {"model": "qwen3", "nodes": []}, "nodes"),
        (PULL, {"model": "qwen3", "nodes": "one"}, "nodes"),
        (PULL, {"model": "qwen3", "nodes": ["nobody"]}, "nodes"),
        (PULL, {"model": "qwen3", "nodes": [str(uuid.UUID(int=7))]}, "nodes"),
        (PULL, {"model": "qwen3", "replicas": -1}, "replicas"),
        (PULL, {"model": "qwen3", "replicas": 1, "nodes": ["one"]}, "replicas"),
        (PULL, {"model": "qwen3", "insecure": True}, "insecure"),
        (f"{MODELS}/delete", {"model": "qwen3", "replicas": 1}, "replicas"),
        (f"{MODELS}/copy", {"model": "qwen3"}, "destination"),
        (f"{MODELS}/copy", {"model": "qwen3", "destination": "Qwen3:latest"}, "destination"),
        (f"{MODELS}/load", {"model": "qwen3", "keep_alive": True}, "keep_alive"),
        (f"{MODELS}/load", {"model": "qwen3", "keep_alive": "-1"}, "keep_alive"),
        (f"{MODELS}/load", {"model": "qwen3", "keep_alive": "soon"}, "keep_alive"),
        (f"{MODELS}/load", {"model": "qwen3", "keep_alive": 10**400}, "keep_alive"),
        (PULL, {"model": "qwen3", "state": "succeeded"}, "state"),
        (PULL, {"model": "qwen3", "created_by": "alice"}, "created_by"),
    ],
)
def test_what_makes_no_job_is_refused(
    make_node, as_operator: APIClient, path: str, body: dict[str, Any], field: str
) -> None:
    """C17."""
    make_node(name="one")
    answer = as_operator.post(path, body)
    assert (answer.status_code, answer.data["code"]) == (400, "invalid")
    assert list(answer.data["errors"]) == [field]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "model", ["evil.example:8443/x/y", "http://evil.example/x/y", "10.0.0.1/x/y"]
)
def test_a_pull_from_a_strange_registry_is_refused(
    make_node, as_operator: APIClient, model: str
) -> None:
    """C29."""
    make_node(name="one")
    answer = as_operator.post(PULL, {"model": model})
    assert (answer.status_code, answer.data["code"]) == (400, "registry_not_allowed")
    assert "AIVONX_REGISTRIES" in answer.data["detail"]
    assert not Job.objects.exists()
    assert as_operator.post(PULL, {"model": "hf.co/org/model:Q4"}).status_code == 202


def test_a_retry_goes_by_the_registries_that_are_allowed_now(
    make_node, as_operator: APIClient, settings
) -> None:
    """C29."""
    make_node(name="one")
    job = as_operator.post(PULL, {"model": "hf.co/org/model:Q4"}).data
    end("failed")
    settings.REGISTRIES = Registries(("registry.ollama.ai",))
    answer = as_operator.post(f"{JOBS}/{job['id']}/retry")
    assert (answer.status_code, answer.data["code"]) == (400, "registry_not_allowed")
    assert Job.objects.get().state == "failed"
    settings.REGISTRIES = Registries(("*",))
    assert as_operator.post(f"{JOBS}/{job['id']}/retry").status_code == 200


@pytest.mark.parametrize(
    "model",
    [
        "file:///etc/passwd",
        "../../etc/passwd",
        "sha256:../../x",
        "registry.ollama.ai/library/../../etc/passwd",
        "qwen3@sha256:" + "0" * 64,
        "qwen3\0",
        "evil.example:8443//y",
        "user@evil.example/x/y",
    ],
)
def test_a_pull_of_what_is_no_name_is_refused(
    make_node, as_operator: APIClient, model: str
) -> None:
    """C29."""
    make_node(name="one")
    answer = as_operator.post(PULL, {"model": model})
    assert (answer.status_code, list(answer.data["errors"])) == (400, ["model"])
    assert not Job.objects.exists()


def test_a_pull_without_tls_is_refused_with_what_to_do(make_node, as_operator: APIClient) -> None:
    make_node(name="one")
    answer = as_operator.post(PULL, {"model": "qwen3", "insecure": True})
    assert (answer.status_code, answer.data["code"]) == (400, "invalid")
    assert "certificate" in answer.data["errors"]["insecure"][0]
    assert not Job.objects.exists()
    assert as_operator.post(PULL, {"model": "qwen3", "insecure": False}).status_code == 202


def test_a_pull_without_names_is_for_the_active_pool(make_node, as_operator: APIClient) -> None:
    answer = as_operator.post(PULL, {"model": "qwen3"})
    assert (answer.status_code, answer.data["code"]) == (409, "no_node")
    make_node(name="up")
    make_node(name="unwished", active=False)
    make_node(name="down", health="unhealthy")
    job = as_operator.post(PULL, {"model": "qwen3"}).data
    assert [part["node"] for part in job["parts"]] == ["up"]
    named = as_operator.post(PULL, {"model": "mistral", "nodes": ["down", "unwished"]}).data
    assert [part["node"] for part in named["parts"]] == ["down", "unwished"]


def test_nodes_are_named_by_id_or_by_name_and_each_counts_once(
    make_node, as_operator: APIClient
) -> None:
    one, two = make_node(name="one"), make_node(name="two")
    body = {"model": "qwen3", "nodes": ["one", str(one.pk), str(two.pk).upper()]}
    assert [part["node"] for part in as_operator.post(PULL, body).data["parts"]] == ["one", "two"]


def test_replicas_go_to_holders_first_and_then_to_the_emptiest(
    make_node, as_operator: APIClient
) -> None:
    full, holder, empty = make_node(name="a"), make_node(name="b"), make_node(name="c")
    give(full, library("x:latest"), library("y:latest"))
    give(holder, library("qwen3:latest"), library("y:latest"), library("z:latest"))
    give(empty)
    job = as_operator.post(PULL, {"model": "qwen3", "replicas": 2}).data
    assert {part["node"] for part in job["parts"]} == {"b", "c"}
    answer = as_operator.post(PULL, {"model": "mistral", "replicas": 4})
    assert (answer.status_code, answer.data["code"]) == (409, "too_few_nodes")


def test_the_proxy_config_says_how_many_nodes_where_the_operator_does_not(
    make_node, as_operator: APIClient
) -> None:
    for name in ("one", "two", "three"):
        give(make_node(name=name), *([] if name == "two" else [library("qwen3:latest")]))
    assert as_operator.patch("/api/proxy/config", {"pull_replicas": 1}).status_code == 200

    def pulling(model: str, **wish: Any) -> set[str]:
        parts = as_operator.post(PULL, {"model": model, **wish}).data["parts"]
        return {part["node"] for part in parts}

    assert pulling("qwen3") == {"one", "three"}  # every holder, so that no versions drift apart
    assert pulling("mistral") == {"two"}
    assert pulling("gemma3", replicas=0) == {"one", "two", "three"}
    assert pulling("llama3.2", nodes=["three"]) == {"three"}
    as_operator.patch("/api/proxy/config", {"pull_replicas": 9})
    assert pulling("tinyllama") == {"one", "two", "three"}  # as many as there are


def test_a_pull_names_the_nodes_that_it_leaves_out(make_node, as_operator: APIClient) -> None:
    make_node(name="well")
    for name in ("away", "holder-away"):
        make_node(name=name, health=Verdict.UNHEALTHY.value)
    make_node(name="unwished", active=False, health=Verdict.UNHEALTHY.value)
    give(Node.objects.get(name="holder-away"), library("qwen3:latest"))

    def left_out(model: str, **wish: Any) -> list[str]:
        path = as_operator.post(PULL, {"model": model, **wish})["Location"]
        return as_operator.get(path).data["left_out"]

    assert left_out("gemma3") == ["away", "holder-away"]
    assert left_out("mistral", replicas=1) == []  # another one took their place
    assert left_out("qwen3", replicas=1) == ["holder-away"]  # it keeps its old version
    assert left_out("tinyllama", nodes=["well"]) == []


def test_a_load_with_replicas_0_is_for_every_holder(make_node, as_operator: APIClient) -> None:
    for name in ("one", "two"):
        give(make_node(name=name), library("qwen3:latest"))
    job = as_operator.post(f"{MODELS}/load", {"model": "qwen3", "replicas": 0}).data
    assert {part["node"] for part in job["parts"]} == {"one", "two"}


@pytest.mark.parametrize("kind", ["delete", "load", "unload"])
def test_what_no_node_has_is_404(make_node, as_operator: APIClient, kind: str) -> None:
    make_node()
    answer = as_operator.post(f"{MODELS}/{kind}", {"model": "qwen3"})
    assert (answer.status_code, answer.data["code"]) == (404, "model_not_found")


def test_a_delete_is_for_every_holder_and_a_load_for_one(make_node, as_operator: APIClient) -> None:
    for name in ("one", "two"):
        give(make_node(name=name), library("qwen3:latest"))
    make_node(name="three")
    load = as_operator.post(f"{MODELS}/load", {"model": "qwen3"}).data
    assert len(load["parts"]) == 1
    end("succeeded")
    delete = as_operator.post(f"{MODELS}/delete", {"model": "QWEN3"}).data
    assert [part["node"] for part in delete["parts"]] == ["one", "two"]


def test_two_jobs_on_one_model_at_one_node_do_not_fit(make_node, as_operator: APIClient) -> None:
    make_node(name="one")
    make_node(name="two")
    first = as_operator.post(PULL, {"model": "qwen3", "nodes": ["one"]}).data
    answer = as_operator.post(PULL, {"model": "qwen3:latest"})
    assert (answer.status_code, answer.data["code"]) == (409, "model_busy")
    assert first["id"] in answer.data["detail"]
    assert Job.objects.count() == JobPart.objects.count() == 1
    assert as_operator.post(PULL, {"model": "qwen3", "nodes": ["two"]}).status_code == 202
    assert as_operator.post(PULL, {"model": "mistral", "nodes": ["one"]}).status_code == 202


def test_a_retry_that_meets_another_job_is_refused(make_node, as_operator: APIClient) -> None:
    make_node(name="one")
    first = as_operator.post(PULL, {"model": "qwen3"}).data
    end("failed")
    as_operator.post(PULL, {"model": "qwen3"})
    answer = as_operator.post(f"{JOBS}/{first['id']}/retry")
    assert (answer.status_code, answer.data["code"]) == (409, "model_busy")
    assert Job.objects.get(pk=first["id"]).state == "failed"


def test_what_a_node_has_not_done_is_not_100_percent(make_node, as_operator: APIClient) -> None:
    for name in ("one", "two"):
        make_node(name=name)
    path = f"{JOBS}/{as_operator.post(PULL, {'model': 'qwen3'}).data['id']}"
    JobPart.objects.filter(node_name="one").update(total_bytes=9, completed_bytes=9)
    for state, shown in (("partial", 99.9), ("succeeded", 100.0)):
        Job.objects.update(state=state)
        assert as_operator.get(path).data["percent"] == shown


def test_cancel_and_retry_say_when_there_is_nothing_to_do(
    make_node, as_operator: APIClient
) -> None:
    make_node()
    one = f"{JOBS}/{as_operator.post(PULL, {'model': 'qwen3'}).data['id']}"
    assert as_operator.post(f"{one}/retry").data["code"] == "nothing_to_retry"
    cancelled = as_operator.post(f"{one}/cancel")
    assert (cancelled.status_code, cancelled.data["state"]) == (200, "cancelled")
    assert cancelled.data["parts"][0]["state"] == "cancelled"
    again = as_operator.post(f"{one}/cancel")
    assert (again.status_code, again.data["code"]) == (409, "job_finished")
    assert as_operator.post(f"{one}/retry").data["nodes"]["queued"] == 1
    end("succeeded")
    assert as_operator.post(f"{one}/retry").data["code"] == "nothing_to_retry"
    actions = list(AuditRecord.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["model.pull", "job.cancel", "job.retry"]


def test_a_cancel_of_a_running_job_is_left_to_its_worker_and_said_once(
    make_node, as_operator: APIClient
) -> None:
    make_node()
    one = f"{JOBS}/{as_operator.post(PULL, {'model': 'qwen3'}).data['id']}"
    runs.jobs_claim("worker", 10)
    for _ in range(2):
        answer = as_operator.post(f"{one}/cancel").data
        assert (answer["state"], answer["is_cancelling"]) == ("running", True)
    assert AuditRecord.objects.filter(action="job.cancel").count() == 1


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_a_job_that_is_not_there_is_404(as_operator: APIClient, action: str) -> None:
    assert as_operator.post(f"{JOBS}/{uuid.uuid4()}/{action}").status_code == 404


def test_a_user_asks_for_sixty_jobs_a_minute_and_no_more(make_node, as_operator: APIClient) -> None:
    make_node()
    statuses = [as_operator.post(PULL, {"model": f"m{n}"}).status_code for n in range(61)]
    assert statuses == [202] * 60 + [429]
    answer = as_operator.post(PULL, {"model": "late"})
    assert (answer.data["code"], int(answer["Retry-After"]) > 0) == ("throttled", True)
    assert as_operator.get(JOBS).status_code == 200
    cache.clear()


def test_the_number_of_open_jobs_is_bounded(make_node, as_operator: APIClient) -> None:
    make_node()
    Job.objects.bulk_create(
        Job(kind="pull", model="x", canonical="x") for _ in range(services.MAX_OPEN)
    )
    answer = as_operator.post(PULL, {"model": "qwen3"})
    assert (answer.status_code, answer.data["code"]) == (429, "too_many_jobs")
    end("succeeded")
    assert as_operator.post(PULL, {"model": "qwen3"}).status_code == 202


def test_jobs_are_listed_filtered_and_cut(make_node, as_operator: APIClient, as_viewer) -> None:
    one = make_node(name="one")
    make_node(name="two")
    give(one, library("mistral:latest"))
    as_operator.post(PULL, {"model": "qwen3"})
    end("succeeded")
    as_operator.post(f"{MODELS}/delete", {"model": "mistral"})

    def listed(query: str) -> list[str]:
        return [job["kind"] for job in as_viewer.get(f"{JOBS}?{query}").data["results"]]

    assert listed("") == ["delete", "pull"]
    assert listed("ordering=created_at") == ["pull", "delete"]
    assert listed("limit=1&offset=1") == ["pull"]
    assert listed("state=succeeded") == ["pull"]
    assert listed("state=succeeded&state=queued") == ["delete", "pull"]
    assert listed("kind=delete") == ["delete"]
    assert listed("model=QWEN3:latest") == ["pull"]
    assert listed(f"node={one.pk}") == ["delete", "pull"]
    assert listed(f"node={uuid.uuid4()}") == []
    both = as_viewer.get(f"{JOBS}?kind=pull&node={one.pk}").data["results"][0]
    assert both["nodes"]["succeeded"] == 2
    assert listed("created_by=bob&search=mist") == ["delete"]
    assert listed("until=2020-01-01T00:00:00Z") == []
    assert as_viewer.get(f"{JOBS}?fields=kind&kind=pull").data["results"] == [{"kind": "pull"}]
    for wrong in ("state=done", "model=a/b/c/d", "node=one", "claim=x", "since=soon"):
        assert as_viewer.get(f"{JOBS}?{wrong}").data["code"] == "invalid_filter", wrong


def test_a_page_of_jobs_takes_a_fixed_number_of_queries(
    make_node, as_operator: APIClient, as_viewer, django_assert_num_queries
) -> None:
    make_node()
    for number in range(10):
        as_operator.post(PULL, {"model": f"m{number}"})
    with django_assert_num_queries(3):  # the viewer, the count, the page
        assert len(as_viewer.get(JOBS).data["results"]) == 10


def test_jobs_are_forgotten_when_they_were_over_long_ago(
    make_node, as_operator: APIClient, settings
) -> None:
    make_node()
    for model in ("old", "new", "open"):
        as_operator.post(PULL, {"model": model})
    settings.JOB_RETENTION_DAYS = 7
    now = timezone.now()
    for model, days in (("old", 8), ("new", 6)):
        Job.objects.filter(model=f"{model}:latest").update(
            state="succeeded", finished_at=now - dt.timedelta(days=days)
        )
    Job.objects.filter(model="open:latest").update(created_at=now - dt.timedelta(days=90))
    assert services.jobs_flush(now) == 1
    assert set(Job.objects.values_list("model", flat=True)) == {"new:latest", "open:latest"}
    assert JobPart.objects.count() == 2
