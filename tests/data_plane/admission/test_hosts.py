"""Which names are ours; the rows on the wire stand in hostile/rebinding.toml."""

from typing import Any

import pytest
from fakes.ollama import FakeOllama

from data_plane.admission.hosts import Hosts
from shared.credentials import mint
from shared.snapshot import ApiKey


@pytest.mark.parametrize("host", ["box", "BOX:11435", "chat.example", "Chat.Example:443", ""])
def test_this_machine_and_what_was_added_are_ours(host: str) -> None:
    assert Hosts(("Chat.example",), "Box").is_ours(host)


@pytest.mark.parametrize("host", ["box.example", "abox", "a.chat.example", "example", "boxy:1"])
def test_nothing_else_is(host: str) -> None:
    assert not Hosts(("chat.example",), "box").is_ours(host)


async def test_the_first_key_opens_the_name_and_the_last_one_that_goes_closes_it(
    make_plane: Any, dial: Any
) -> None:
    """B18: on one connection, whose head is known: what is remembered of it is not the verdict."""
    plane = await make_plane()
    key = mint()
    async with FakeOllama(["llama3.2"]) as node:
        wire = await dial(plane)
        request = b"GET /api/tags HTTP/1.1\r\nHost: evil.example\r\nx-api-key: %b\r\n\r\n" % (
            key.text.encode()
        )
        for keys, status in (
            ((), b"403"),
            ((ApiKey(id=key.id, sha256=key.sha256),), b"200"),
            ((), b"403"),
        ):
            await plane.apply(node, keys=keys)
            wire.received = b""
            wire.send(request)
            while b"}" not in wire.received:
                assert await wire.more()
            assert wire.received.startswith(b"HTTP/1.1 " + status)


async def test_a_proxy_that_others_can_reach_asks_for_a_key_and_not_for_a_name(
    make_plane: Any,
) -> None:
    plane = await make_plane(AIVONX_PROXY_BIND="0.0.0.0:0")
    async with FakeOllama(["llama3.2"]) as node:
        await plane.apply(node)
        answer = await plane.get("/api/tags", Host="evil.example")
    assert answer.status == 401
    assert answer.json()["code"] == "missing_api_key"
