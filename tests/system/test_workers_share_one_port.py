"""Four workers behind one port look like one data plane: one count, one word about itself."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Final

import httpx2
import pytest
from fakes.plane import MODEL
from fakes.processes import eventually
from fakes.stack import GROUP, workers_ready

from shared import keys

if TYPE_CHECKING:
    from fakes.node_process import NodeProcess
    from fakes.plane import DataPlane
    from fakes.raw import RawStream
    from fakes.stack import Stack

NODES: Final = 4
STREAMS: Final = 64
FAIR: Final = STREAMS // NODES
WORDS: Final = 400
BACK_S: Final = 2.0
AT_ONCE_S: Final = 1.0


@pytest.fixture
def nodes(stack: Stack) -> list[NodeProcess]:
    """Four equal nodes that take their time."""
    made = [stack.serving_node() for _ in range(NODES)]
    for node in made:
        node.pace(token_s=0.25)
    return made


def open_streams(plane: DataPlane, count: int) -> list[RawStream]:
    """That many at the same instant, each on a connection of its own; every one has begun."""
    together = Barrier(count)

    def open_one(_: int) -> RawStream:
        together.wait()
        stream = plane.stream(WORDS)
        stream.read_records(1)
        return stream

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(open_one, range(count)))


def active(nodes: list[NodeProcess]) -> list[int]:
    return [node.active() for node in nodes]


def assert_fair(nodes: list[NodeProcess]) -> None:
    found = active(nodes)
    print(f"\nstreams on each node: {found}")
    assert sum(found) == STREAMS
    assert all(abs(count - FAIR) <= 1 for count in found), found


def close(streams: list[RawStream], nodes: list[NodeProcess]) -> None:
    for stream in streams:
        stream.close()
    eventually("the nodes are free", lambda: not any(active(nodes)), 5)


def test_least_active_counts_the_streams_of_all_workers(
    stack: Stack, nodes: list[NodeProcess]
) -> None:
    group = stack.group
    streams = open_streams(group, STREAMS)

    assert_fair(nodes)
    busy = [worker["in_flight"] for worker in group.workers()]
    print(f"streams at each worker: {busy}")
    assert sum(busy) == STREAMS
    assert sum(count > 0 for count in busy) >= 2
    eventually(
        "the state counts them once",
        lambda: stack.active_counts() == {node.id: node.active() for node in nodes},
        4,
    )
    assert group.metric("aivonx_active_requests") == STREAMS

    close(streams, nodes)
    eventually("the state counts none", lambda: not stack.active_counts(), 4)


def test_what_one_worker_does_the_others_know_at_once(stack: Stack) -> None:
    group = stack.group
    busy = stack.serving_node()
    busy.pace(token_s=0.25)
    # On two workers at most: by themselves the others would send half of theirs to the busy node.
    streams = [group.stream(WORDS) for _ in range(2)]
    for stream in streams:
        stream.read_records(1)
    idle = stack.serving_node()
    for _ in range(30):
        assert group.chat(MODEL).status_code == 200
    assert (busy.served(), idle.served()) == (2, 30)
    close(streams, [busy])


def test_another_instance_sees_what_all_workers_do(stack: Stack, nodes: list[NodeProcess]) -> None:
    group = stack.group
    streams = open_streams(group, STREAMS)
    idle = stack.serving_node()

    def goes_to_the_idle_node() -> bool:
        before = idle.served()
        assert stack.plane.chat(MODEL).status_code == 200
        return idle.served() == before + 1

    eventually("the other instance knows", goes_to_the_idle_node, 4)
    close(streams, nodes)


def test_a_killed_worker_takes_only_its_own_streams_along(
    stack: Stack, nodes: list[NodeProcess]
) -> None:
    """F61."""
    group = stack.group
    streams = open_streams(group, STREAMS)
    victim = max(group.workers(), key=lambda worker: worker["in_flight"])
    lost = victim["in_flight"]

    os.kill(victim["pid"], signal.SIGKILL)
    killed_at = time.monotonic()

    # The counts are right at once: as many new ones fill exactly the gaps.
    eventually("the nodes noticed", lambda: sum(active(nodes)) == STREAMS - lost, AT_ONCE_S)
    streams += open_streams(group, lost)
    assert_fair(nodes)
    eventually("it is back", lambda: workers_ready(group) == GROUP, BACK_S)
    took = time.monotonic() - killed_at
    print(f"back after {took:.2f} s, {lost} streams were lost")
    assert took < BACK_S
    assert group.metric("aivonx_worker_starts_total") == GROUP + 1

    broken = [stream for stream in streams if _is_broken(stream)]
    assert len(broken) == lost
    close(streams, nodes)


def _is_broken(stream: RawStream) -> bool:
    """Whether the stream ends before its next record."""
    seen = stream.body.count(b"\n")
    try:
        stream.read_records(seen + 1)
    except AssertionError:
        return True
    return False


def test_new_connections_succeed_while_workers_are_killed(stack: Stack) -> None:
    """F61."""
    stack.serving_node()
    group = stack.group
    for victim in group.workers()[:3]:
        os.kill(victim["pid"], signal.SIGKILL)
        for _ in range(20):
            assert group.chat(MODEL).status_code == 200
        eventually("it is back", lambda: workers_ready(group) == GROUP, BACK_S)


def test_the_sums_never_go_down(stack: Stack) -> None:
    stack.serving_node()
    group = stack.group
    for _ in range(40):
        assert group.chat(MODEL).status_code == 200

    def served() -> float:
        return group.metric("aivonx_requests_total", route="/api/chat", status="200")

    assert served() == 40
    assert group.metric("aivonx_request_seconds_count", route="/api/chat") == 40
    for victim in group.workers()[:2]:
        os.kill(victim["pid"], signal.SIGKILL)
        while workers_ready(group) < GROUP:
            assert served() == 40
        assert served() == 40
    assert group.chat(MODEL).status_code == 200
    assert served() == 41
    assert group.metric("aivonx_workers") == GROUP


def test_a_frozen_worker_hides_nothing_about_the_others(stack: Stack) -> None:
    stack.serving_node()
    group = stack.group
    frozen = group.workers()[0]["pid"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        answer = group.readiness()
        assert answer.status_code == 200
        assert answer.json()["workers_ready"] == GROUP - 1
        assert group.metric("aivonx_workers") == GROUP - 1
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert workers_ready(group) == GROUP


def test_the_metrics_process_may_die(stack: Stack) -> None:
    group = stack.group
    workers = {worker["pid"] for worker in group.workers()}
    (metrics,) = set(children(group.process.pid)) - workers

    os.kill(metrics, signal.SIGKILL)

    eventually("it is back", lambda: workers_ready(group) == GROUP, BACK_S)
    assert {worker["pid"] for worker in group.workers()} == workers


def test_a_snapshot_reaches_every_worker(stack: Stack) -> None:
    group = stack.group
    for _ in range(3):
        stack.serving_node()
        assert {(worker["epoch"], worker["revision"]) for worker in group.workers()} == {
            stack.decided()
        }


def test_every_access_line_names_its_worker(stack: Stack) -> None:
    stack.serving_node()
    group = stack.group
    mark = group.process.log.stat().st_size
    for _ in range(20):
        assert group.chat(MODEL).status_code == 200

    def lines() -> list[bytes]:
        return [
            line
            for line in group.process.log.read_bytes()[mark:].splitlines()
            if b'"event":"request"' in line
        ]

    eventually("every request has its line", lambda: len(lines()) == 20, AT_ONCE_S)
    assert all(b'"worker":' in line for line in lines())


def test_sigterm_drains_all_workers(stack: Stack) -> None:
    stack.serving_node().pace(token_s=0.05)
    group = stack.group
    pids = [worker["pid"] for worker in group.workers()]
    streams = [group.stream(40) for _ in range(12)]
    for stream in streams:
        stream.read_records(2)

    group.process.terminate()

    eventually("not ready at once", lambda: group.readiness().status_code == 503, AT_ONCE_S)
    for stream in streams:
        with stream:
            stream.read_to_end()
        assert stream.is_complete
        assert stream.records[-1]["done"] is True
    assert group.process.exit_code(5) == 0
    assert not alive(pids)
    reports = [name for name in stack.redis.zrange(keys.INSTANCES, 0, -1) if b"g." in name]
    assert not reports  # each worker took its record away


def test_a_second_signal_ends_at_once(stack: Stack) -> None:
    stack.serving_node().pace(token_s=0.5)
    group = stack.group
    pids = [worker["pid"] for worker in group.workers()]
    with group.stream(600) as stream:
        stream.read_records(1)
        group.process.terminate()
        eventually("it drains", lambda: group.readiness().status_code == 503, AT_ONCE_S)
        group.process.terminate()
        assert group.process.exit_code(2) == 1
    assert not alive(pids)


def test_a_killed_parent_leaves_nobody_behind(stack: Stack) -> None:
    group = stack.group
    family = children(group.process.pid)
    assert len(family) == GROUP + 1

    os.kill(group.process.pid, signal.SIGKILL)

    eventually("all are gone", lambda: not alive(family), AT_ONCE_S)
    assert group.process.exit_code(1) == -signal.SIGKILL


def test_a_port_that_somebody_else_has_stops_the_start(stack: Stack) -> None:
    group = stack.group
    environment = {**group.process.environment, "AIVONX_METRICS_BIND": "127.0.0.1:0"}
    second = stack.process("plane-intruder", ["-m", "data_plane"], environment)
    second.start()
    assert second.exit_code(20) == 1
    assert b"cannot_listen" in second.log.read_bytes()
    assert workers_ready(group) == GROUP


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pids: list[int]) -> list[int]:
    """Those that have not ended; one that nobody has buried yet has."""
    found = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
                found.append(pid)
        except FileNotFoundError:
            continue
    return found


def test_the_endpoint_refuses_what_it_does_not_know(stack: Stack) -> None:
    base = f"http://127.0.0.1:{stack.group.metrics_port}"
    assert httpx2.get(f"{base}/livez", timeout=2).text == "ok"
    assert httpx2.get(f"{base}/nothing", timeout=2).status_code == 404
    assert httpx2.post(f"{base}/metrics", timeout=2).status_code == 405
