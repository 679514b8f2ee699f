from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from pathlib import Path

import pytest
from fakes.authority import Authority
from fakes.ollama import FakeOllama

from control_plane.nodes.client import NodeClient, Observation, Target
from shared.addresses import AddressPolicy
from shared.events import ProbeOutcome

ROOT = Path(__file__).parents[3]
POLICY = AddressPolicy.parse(("127.0.0.0/8", "::1/128"), frozenset())


async def ask(
    question: str,
    url: str,
    token: str = "",
    policy: AddressPolicy = POLICY,
    timeout_s: float = 0.5,
) -> Observation:
    async with NodeClient(policy, health_path="/api/health", timeout_s=timeout_s) as client:
        return await getattr(client, question)(Target(None, url, token))


async def outcome(question: str, url: str, **more: object) -> ProbeOutcome | None:
    seen = await ask(question, url, **more)
    return seen.probe.outcome if seen.probe else None


async def test_a_real_node_is_asked_for_its_version_after_404() -> None:
    async with FakeOllama(version="0.33.1") as node:
        seen = await ask("health", node.url)
        assert [request.path for request in node.requests] == ["/api/health", "/api/version"]
    assert seen.probe is not None
    assert seen.probe.outcome is ProbeOutcome.OK
    assert seen.version == "0.33.1"
    assert seen.probe.latency_s is not None
    assert 0 < seen.probe.latency_s < 5.0


async def test_a_node_with_the_health_path_is_asked_once() -> None:
    async with FakeOllama(health_route=True) as node:
        assert await outcome("health", node.url) is ProbeOutcome.OK
        assert len(node.requests) == 1


async def test_everything_is_the_probe_the_models_and_the_version() -> None:
    """S23."""
    async with FakeOllama(["llama3.2", "qwen3:8b"], prefix="/ollama") as node:
        seen = await ask("everything", node.url)
    assert seen.probe is not None
    assert (seen.probe.outcome, seen.probe.version) == (ProbeOutcome.OK, "0.33.0")
    assert {model.name for model, _ in seen.available or ()} == {"llama3.2:latest", "qwen3:8b"}
    assert seen.loaded == ()


async def test_the_token_is_sent_and_its_absence_is_told() -> None:
    async with FakeOllama(token="abc") as node:
        assert await outcome("everything", node.url) is ProbeOutcome.UNAUTHORIZED
        assert await outcome("everything", node.url, token="abc") is ProbeOutcome.OK


@pytest.mark.parametrize(
    ("fault", "more", "expected"),
    [
        ("garbage", {}, ProbeOutcome.NOT_OLLAMA),
        ("redirect", {"text": "http://169.254.169.254/latest"}, ProbeOutcome.NOT_OLLAMA),
        ("gzip", {}, ProbeOutcome.NOT_OLLAMA),
        ("status", {"status": 502}, ProbeOutcome.UNREACHABLE),
        ("status", {"status": 403}, ProbeOutcome.UNAUTHORIZED),
        ("status", {"status": 418}, ProbeOutcome.NOT_OLLAMA),
        ("silence", {}, ProbeOutcome.TIMEOUT),
        ("reset", {}, ProbeOutcome.UNREACHABLE),
    ],
)
async def test_each_way_to_answer_wrongly_has_its_outcome(
    fault: str, more: dict[str, object], expected: ProbeOutcome
) -> None:
    """S28."""
    async with FakeOllama() as node:
        node.fault(fault, path="/api/version", **more)
        assert await outcome("health", node.url) is expected


async def test_a_body_without_end_is_cut_off() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 1_000_000)
                sent += 1_000_000
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        assert await outcome("health", url, timeout_s=20.0) is ProbeOutcome.NOT_OLLAMA
    assert sent < 64_000_000


async def test_a_redirect_is_not_followed() -> None:
    """C14."""
    async with FakeOllama() as bait, FakeOllama() as node:
        node.fault("redirect", text=f"{bait.url}/api/version")
        assert await outcome("everything", node.url) is ProbeOutcome.NOT_OLLAMA
        assert bait.requests == []


async def test_nothing_listening_is_refused() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert await outcome("health", url) is ProbeOutcome.REFUSED


async def test_a_name_that_does_not_resolve_says_so() -> None:
    assert await outcome("health", "http://nobody.invalid:11434") is ProbeOutcome.DNS_FAILED


async def test_plain_http_behind_https_is_a_tls_fault() -> None:
    async with FakeOllama() as node:
        url = node.url.replace("http://", "https://")
        assert await outcome("health", url) is ProbeOutcome.TLS_FAILED


ASK_IN_A_PROCESS = """
import asyncio, sys
from control_plane.nodes.client import NodeClient, Target
from shared.addresses import AddressPolicy

async def main():
    policy = AddressPolicy.parse(("127.0.0.0/8", "::1/128"), frozenset())
    async with NodeClient(policy, health_path="/api/health", timeout_s=2.0) as client:
        seen = await client.health(Target(None, sys.argv[1]))
        print(seen.probe.outcome)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("names", "days", "is_trusted", "wanted"),
    [
        (("localhost",), 1, True, "ok"),
        (("localhost",), 1, False, "tls_failed"),
        (("localhost",), -1, True, "tls_failed"),
        (("elsewhere.example",), 1, True, "tls_failed"),
    ],
)
async def test_certificates_are_verified_against_the_authorities_of_the_environment(
    tmp_path: Path, names: tuple[str, ...], days: int, is_trusted: bool, wanted: str
) -> None:
    authority = Authority(tmp_path)
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    if is_trusted:
        environment["SSL_CERT_FILE"] = str(authority.file)
    async with FakeOllama(tls=authority.server(*names, days=days)) as node:
        asking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ASK_IN_A_PROCESS, f"https://localhost:{node.port}"),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await asking.communicate()
    assert said.decode().strip() == wanted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_policy_is_asked_at_every_connect(host: str) -> None:
    """C13, S26."""
    nowhere = AddressPolicy.parse(("10.0.0.0/8",), frozenset())
    async with FakeOllama() as node:
        url = f"http://{host}:{node.port}"
        assert await outcome("health", url, policy=nowhere) is ProbeOutcome.ADDRESS_NOT_ALLOWED
        assert node.requests == []


async def test_a_slow_ps_is_not_death() -> None:
    async with FakeOllama() as node:
        node.fault("status", path="/api/ps", status=500)
        seen = await ask("everything", node.url)
    assert seen.probe is not None
    assert seen.probe.is_ok
    assert seen.available
    assert seen.loaded is None


async def test_what_lists_no_models_is_no_node() -> None:
    async with FakeOllama() as node:
        node.fault("missing", path="/api/tags")
        assert await outcome("everything", node.url) is ProbeOutcome.NOT_OLLAMA


async def test_neither_environment_proxies_nor_cookies_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """S29."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with FakeOllama() as node:
        assert await outcome("health", node.url) is ProbeOutcome.OK


async def test_many_nodes_are_asked_at_once() -> None:
    async with FakeOllama() as node:
        node.fault("delay", path="/api/health", seconds=0.2)
        began = asyncio.get_running_loop().time()
        async with NodeClient(POLICY, health_path="/api/health", timeout_s=2.0) as client:
            seen = await asyncio.gather(*(client.health(Target(None, node.url)) for _ in range(50)))
        assert all(one.probe and one.probe.is_ok for one in seen)
        assert asyncio.get_running_loop().time() - began < 5.0
