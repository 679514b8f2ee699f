"""The fake node and the load generator, held against each other."""

import contextlib
import json
import subprocess
import urllib.request

import outputs
import provide
import pytest


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    provide.build(folder)
    return folder


@pytest.fixture(scope="module")
def ports(tools):
    with (
        subprocess.Popen([tools / "fastnode", "2"], stdout=subprocess.PIPE) as node,
        contextlib.closing(node.stdout),
    ):
        yield [int(port) for port in node.stdout.readline().split()[1:]]
        node.kill()


def asked(port: int, path: str, body: dict) -> bytes:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


def test_each_listener_is_a_node(ports) -> None:
    assert len(set(ports)) == 2
    for port in ports:
        assert json.loads(asked(port, "/api/chat", {"stream": False}))["done"] is True


def test_records_hold_rising_times_and_the_last_is_done(ports) -> None:
    body = {"stream": True, "options": {"num_predict": 3, "seed": 1000}}
    records = [json.loads(line) for line in asked(ports[0], "/api/chat", body).splitlines()]
    times = [int(record["message"]["content"]) for record in records[:-1]]
    assert times == sorted(set(times))
    assert [record["done"] for record in records] == [False, False, False, True]


def test_the_openai_form_ends_with_done(ports) -> None:
    body = {"stream": True, "max_tokens": 2, "seed": 1000}
    events = asked(ports[0], "/v1/chat/completions", body).decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert len(events) == 5


def test_options_are_found_behind_a_large_image(ports) -> None:
    body = {"messages": [{"images": ["A" * 600_000]}], "stream": False}
    assert json.loads(asked(ports[0], "/api/chat", body))["done"] is True


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_the_load_counts_every_chunk_and_no_error(tools, ports, path) -> None:
    pace = ("20", "10", "10000", "100", "100", "250", "2")
    done = subprocess.run(
        [tools / "streamload", str(ports[0]), path, *pace],
        input="\n", capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    windows = outputs.streams(done.stdout)
    assert len(windows) == 2
    seen = outputs.middle(windows)
    assert seen.errors == 0, done.stderr
    assert seen.chunks > 400  # 20 streams, 100 chunks a second, half a second: about 900
    assert 0 < seen.delay_p50 <= seen.delay_p99
    assert seen.ttft_p50 > 0


def test_refusals_are_counted_and_told(tools, ports) -> None:
    closed = subprocess.run(
        [tools / "streamload", "1", "/api/chat", "2", "10", "10000", "10", "10", "50", "1"],
        input="\n", capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert outputs.middle(outputs.streams(closed.stdout)).errors > 2
    assert "refused" in closed.stderr.lower()
