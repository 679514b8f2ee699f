"""Jobs worked off against real fake nodes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from control_plane.accounts.models import AuditRecord
from control_plane.jobs import runner, runs
from control_plane.jobs.models import Job, JobPart
from control_plane.nodes.orders import Fault
from control_plane.revisions.selectors import revision_current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rest_framework.test import APIClient

pytestmark = pytest.mark.usefixtures("db")

WAIT_S = 20.0


def part_of(job: Job, name: str) -> JobPart:
    return job.parts.get(node_name=name)


def eventually(what: str, is_so: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def in_background() -> Iterator[Callable[[], threading.Thread]]:
    """Run jobs in a thread of their own, as the worker does."""
    threads: list[threading.Thread] = []

    def work() -> None:
        try:
            runner.jobs_run()
        finally:
            connection.close()

    def start() -> threading.Thread:
        thread = threading.Thread(target=work)
        thread.start()
        threads.append(thread)
        return thread

    yield start
    runner.jobs_stop()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_pull_reaches_every_node_of_the_active_pool(node, ask, make_node) -> None:
    first, second = node("llama3.2", name="one"), node(name="two")
    make_node(name="down", health="unhealthy")
    before = revision_current()[1]
    job = ask("pull", model="Qwen3:8b")

    assert runner.jobs_run() == 1

    job.refresh_from_db()
    assert (job.state, job.claim) == ("succeeded", "")
    assert first.models == {"llama3.2:latest", "Qwen3:8b"}
    assert second.models == {"Qwen3:8b"}
    assert {part.node_name for part in job.parts.all()} == {"one", "two"}
    part = part_of(job, "two")
    assert (part.state, part.step, part.tries) == ("succeeded", "done", 1)
    assert part.completed_bytes == part.total_bytes > 5_000_000_000
    assert len(part.layers) == 2
    second.row.inventory.refresh_from_db()
    assert "qwen3:8b" in second.row.inventory.names
    assert revision_current()[1] > before


def test_one_node_that_fails_is_named_and_does_not_spoil_the_rest(node, ask) -> None:
    good, bad = node(name="good"), node(name="bad")
    bad.fake.fault("error_record", path="/api/pull", after=2, text="no space left on device")
    job = ask("pull", model="qwen3:8b")
    runner.jobs_run()
    job.refresh_from_db()
    assert job.state == "partial"
    assert (part_of(job, "good").state, part_of(job, "good").code) == ("succeeded", "")
    assert (part_of(job, "bad").state, part_of(job, "bad").code) == ("failed", Fault.NO_SPACE)
    assert good.models == {"qwen3:8b"}
    record = AuditRecord.objects.get(action="job.finish")
    assert record.after["failed"] == {"bad": "no_space"}


def test_a_retry_goes_to_the_failed_nodes_only(node, ask, as_operator: APIClient) -> None:
    good, bad = node(name="good"), node(name="bad")
    bad.fake.fault("error_record", path="/api/pull", after=2, times=1)
    job = ask("pull", model="qwen3:8b")
    runner.jobs_run()
    answer = as_operator.post(f"/api/proxy/jobs/{job.pk}/retry")
    assert (answer.status_code, answer.data["state"]) == (200, "queued")
    runner.jobs_run()
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert (part_of(job, "good").tries, part_of(job, "bad").tries) == (1, 2)
    assert good.fake.node.paths["/api/pull"] == 1
    assert bad.models == {"qwen3:8b"}


def test_a_node_removed_meanwhile_is_said_so(node, ask) -> None:
    node(name="stays")
    gone = node(name="gone")
    job = ask("pull", model="qwen3:8b")
    gone.row.delete()
    runner.jobs_run()
    job.refresh_from_db()
    assert (job.state, part_of(job, "gone").code) == ("partial", "node_gone")


def test_delete_copy_load_and_unload_do_what_they_say(node, ask) -> None:
    here = node("llama3.2", "qwen3:8b", name="one")
    ask("models/copy", model="llama3.2", destination="me/mine")
    runner.jobs_run()
    ask("models/delete", model="llama3.2")
    ask("models/load", model="qwen3:8b", keep_alive=-1)
    runner.jobs_run()
    assert here.models == {"me/mine:latest", "qwen3:8b"}
    here.row.inventory.refresh_from_db()
    assert "/me/mine:latest" in here.row.inventory.names
    assert here.row.inventory.loaded_count == 1
    ask("models/unload", model="qwen3:8b")
    runner.jobs_run()
    eventually("it is unloaded", lambda: not here.fake.node.scheduler.listed())
    here.row.refresh_from_db()
    assert here.row.refresh_claimed_at is None  # looked at again: Ollama answers first
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}


def test_nothing_due_takes_nothing(db: None) -> None:
    assert runner.jobs_run() == 0


@pytest.mark.django_db(transaction=True)
def test_progress_is_in_the_database_while_the_pull_goes_on(
    node, ask, as_viewer: APIClient, in_background
) -> None:
    node(name="one", pull_s=3.0)
    job = ask("pull", model="qwen3:8b")
    in_background()
    eventually(
        "bytes are seen", lambda: JobPart.objects.filter(job=job, completed_bytes__gt=0).exists()
    )
    shown = as_viewer.get(f"/api/proxy/jobs/{job.pk}").data
    assert (shown["state"], shown["parts"][0]["step"]) == ("running", "downloading")
    assert 0 < shown["percent"] < 100
    row = as_viewer.get("/api/proxy/models?model=qwen3:8b").data["results"][0]
    assert row["nodes"][0]["state"] == "pulling"
    assert row["nodes"][0]["job"]["percent"] == shown["percent"]
    eventually("it is done", lambda: Job.objects.get().state == "succeeded")


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_pull_stops_at_the_node(
    node, ask, as_operator: APIClient, in_background
) -> None:
    done, slow = node(name="done"), node(name="slow")
    slow.fake.fault("stall", path="/api/pull", after=4)
    job = ask("pull", model="qwen3:8b")
    thread = in_background()
    eventually("one is done", lambda: part_of(job, "done").state == "succeeded")
    answer = as_operator.post(f"/api/proxy/jobs/{job.pk}/cancel")
    assert (answer.status_code, answer.data["is_cancelling"]) == (200, True)
    eventually("it is over", lambda: Job.objects.get().state == "cancelled")
    thread.join(WAIT_S)
    eventually("the stream is closed", lambda: slow.fake.node.abandoned["/api/pull"] == 1)
    assert part_of(job, "slow").state == "cancelled"
    assert (done.models, slow.models) == ({"qwen3:8b"}, set())
    assert Job.objects.get().is_cancelling is False


@pytest.mark.django_db(transaction=True)
def test_a_job_asked_for_during_a_run_is_taken_by_that_run(node, ask, in_background) -> None:
    here = node("llama3.2", name="one")
    here.fake.fault("stall", path="/api/pull")
    ask("pull", model="qwen3:8b")
    thread = in_background()
    eventually("it pulls", lambda: here.fake.node.paths["/api/pull"] == 1)
    quick = ask("models/delete", model="llama3.2")
    assert runner.jobs_run() is None
    eventually("it is done", lambda: Job.objects.get(pk=quick.pk).state == "succeeded")
    assert thread.is_alive()


@pytest.mark.django_db(transaction=True)
def test_a_worker_told_to_stop_gives_its_jobs_back(node, ask, in_background) -> None:
    here = node(name="one")
    here.fake.fault("stall", path="/api/pull", times=1)
    job = ask("pull", model="qwen3:8b")
    thread = in_background()
    eventually("it pulls", lambda: here.fake.node.paths["/api/pull"] == 1)
    runner.jobs_stop()
    thread.join(WAIT_S)
    job.refresh_from_db()
    assert (job.state, job.claim, job.lost) == ("queued", "", 0)
    assert part_of(job, "one").state == "queued"
    assert runner.jobs_run() is None
    runner._stopping.clear()
    assert runner.jobs_run() == 1
    job.refresh_from_db()
    assert (job.state, part_of(job, "one").tries) == ("succeeded", 2)


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_claim_was_taken_lets_go(node, ask, in_background) -> None:
    here = node(name="one")
    here.fake.fault("stall", path="/api/pull")
    job = ask("pull", model="qwen3:8b")
    thread = in_background()
    eventually("it pulls", lambda: here.fake.node.paths["/api/pull"] == 1)
    Job.objects.update(claim="somebody else")
    thread.join(WAIT_S)
    job.refresh_from_db()
    assert (job.state, job.claim) == ("running", "somebody else")
    eventually("the stream is closed", lambda: here.fake.node.abandoned["/api/pull"] == 1)


def test_a_job_whose_worker_died_is_found_and_continued(node, ask) -> None:
    """F56."""
    here = node(name="one")
    job = ask("pull", model="qwen3:8b")
    assert len(runs.jobs_claim("dead", 10)) == 1
    assert runner.jobs_run() == 0  # its lease has not run out
    Job.objects.update(heartbeat_at=timezone.now() - runs.LEASE * 1.1)
    assert runner.jobs_run() == 1
    job.refresh_from_db()
    assert (job.state, job.lost, part_of(job, "one").tries) == ("succeeded", 1, 2)
    assert here.models == {"qwen3:8b"}


def test_a_job_that_kills_every_worker_is_given_up(node, ask) -> None:
    here = node(name="one")
    job = ask("pull", model="qwen3:8b")
    for number in range(runs.MAX_LOST + 1):
        assert runs.jobs_claim(f"dead-{number}", 10)
        Job.objects.update(heartbeat_at=timezone.now() - runs.LEASE * 1.1)
    runner.jobs_run()
    job.refresh_from_db()
    assert (job.state, part_of(job, "one").code) == ("failed", "worker_lost")
    assert here.fake.node.paths["/api/pull"] == 0


def test_a_job_cancelled_after_its_worker_died_ends(node, ask, as_operator: APIClient) -> None:
    node(name="one")
    job = ask("pull", model="qwen3:8b")
    runs.jobs_claim("dead", 10)
    as_operator.post(f"/api/proxy/jobs/{job.pk}/cancel")
    Job.objects.update(heartbeat_at=timezone.now() - runs.LEASE * 1.1)
    runner.jobs_run()
    job.refresh_from_db()
    assert (job.state, part_of(job, "one").state) == ("cancelled", "cancelled")


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_claims_a_job(node, ask) -> None:
    node("llama3.2", "qwen3", "mistral", name="one")
    for model in ("llama3.2", "qwen3", "mistral"):
        ask("models/delete", model=model)
    barrier = threading.Barrier(6)
    taken: list[Job] = []

    def claim(token: str) -> None:
        barrier.wait()
        taken.extend(runs.jobs_claim(token, 10))
        connection.close()

    threads = [threading.Thread(target=claim, args=(f"worker-{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(taken) == len({job.pk for job in taken}) == 3
