"""Nodes behind TLS: verified against the system's authorities, or those of SSL_CERT_FILE."""

import asyncio
import io
import json
import ssl

import msgspec
import pytest
from fakes.authority import Authority
from fakes.ollama import FakeOllama

from data_plane.upstream import dial
from shared import wire as sealing

CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]}


@pytest.fixture
def authority(tmp_path, monkeypatch) -> Authority:
    """One that this process trusts, and nobody else."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    dial._tls.cache_clear()
    yield made
    dial._tls.cache_clear()


async def apply(plane, node: FakeOllama, host: str = "localhost") -> None:
    """Put the node in force at its TLS address; its models are read without TLS from a twin."""
    async with FakeOllama() as twin:
        snapshot = await plane.apply(twin)
    (known,) = snapshot.nodes
    moved = msgspec.structs.replace(known, address=f"https://{host}:{node.port}")
    changed = msgspec.structs.replace(snapshot, nodes=(moved,), revision=snapshot.revision + 1)
    sealed = sealing.seal(changed, plane.app.settings.snapshot_key)
    assert await plane.app.state.offer(sealed, "test")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_node_behind_tls_is_served(plane, authority, host) -> None:
    async with FakeOllama(tls=authority.server("localhost", "127.0.0.1")) as node:
        await apply(plane, node, host)
        for stream in (True, False, True):
            answer = await plane.chat(stream=stream)
            assert answer.status == 200
            assert b'"done":true' in answer.body
        big = json.dumps({**CHAT, "stream": False, "padding": "x" * 6_000_000}).encode()
        data = io.BytesIO(big)
        async with plane.session.post(plane.url("/api/chat"), data=data) as answer:
            assert answer.status == 200
        assert [len(each.body) for each in node.requests if each.method == "POST"][3] > 6_000_000


@pytest.mark.parametrize(
    ("names", "days", "words"),
    [
        (("localhost",), -1, "certificate has expired"),
        (("elsewhere.example",), 1, "Hostname mismatch"),
        (("127.0.0.1",), 1, "Hostname mismatch"),
    ],
)
async def test_a_wrong_certificate_is_named(plane, authority, names, days, words) -> None:
    async with FakeOllama(tls=authority.server(*names, days=days)) as node:
        await apply(plane, node)
        answer = await plane.chat()
        assert (answer.status, answer.json()["code"]) == (503, "no_healthy_node")
        line = await plane.line()
        assert "tls_failed" in line["detail"]
        assert words in line["detail"]
        assert not node.requests
        assert plane.app.circuits.down == {"n1"}


async def test_an_unknown_authority_is_not_trusted(plane, authority, tmp_path) -> None:
    (tmp_path / "other").mkdir()
    async with FakeOllama(tls=Authority(tmp_path / "other").server("localhost")) as node:
        await apply(plane, node)
        assert (await plane.chat()).status == 503
        assert "certificate" in (await plane.line())["detail"]
        assert not node.requests


async def test_a_node_without_tls_where_it_should_have_it_is_named(plane, authority) -> None:
    async with FakeOllama() as node:
        await apply(plane, node)
        assert (await plane.chat()).status == 503
        assert "tls_failed" in (await plane.line())["detail"]


async def test_a_node_with_a_mended_certificate_comes_back(plane, authority) -> None:
    expired, good = authority.server("localhost", days=-1), authority.server("localhost")
    async with FakeOllama(tls=expired) as node:
        await apply(plane, node)
        assert (await plane.chat()).status == 503
        port = node.port
    async with FakeOllama(tls=good, port=port):
        async with asyncio.timeout(10.0):
            while plane.app.circuits.down:
                await asyncio.sleep(0.01)
        assert (await plane.chat()).status == 200


async def test_a_stream_that_breaks_behind_tls_breaks_visibly(plane, authority) -> None:
    async with FakeOllama(tls=authority.server("localhost")) as node:
        await apply(plane, node)
        node.fault("reset", path="/api/chat", after=2)
        with pytest.raises(Exception, match=r"payload|disconnected|closed"):
            await plane.chat(stream=True)
        assert (await plane.line())["outcome"] == "truncated"


def test_verification_is_on(authority) -> None:
    context = dial._tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
