from __future__ import annotations

import socket
import threading
import time

import pytest

from control_plane.nodes import resolver
from control_plane.nodes.resolver import PolicyResolver, ResolveError, address_check
from shared.addresses import AddressFault, AddressPolicy, InvalidAddressError, normalise

POLICY = AddressPolicy.parse(("127.0.0.0/8", "10.0.0.0/8"), frozenset({6379}))


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to."""
    answers: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port))
            for ip in answers[host]
        ]

    monkeypatch.setattr(resolver, "getaddrinfo", getaddrinfo)
    return answers


async def test_a_name_gives_its_addresses_once_each(dns: dict[str, list[str]]) -> None:
    dns["node"] = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    found = await PolicyResolver(POLICY).resolve("node", 11434)
    assert [entry["host"] for entry in found] == ["10.0.0.1", "10.0.0.2"]
    assert {entry["port"] for entry in found} == {11434}


async def test_one_forbidden_address_refuses_the_whole_answer(dns: dict[str, list[str]]) -> None:
    """C13, S26."""
    dns["node"] = ["10.0.0.1", "169.254.169.254"]
    with pytest.raises(InvalidAddressError) as caught:
        await PolicyResolver(POLICY).resolve("node", 11434)
    assert caught.value.fault is AddressFault.NOT_ALLOWED
    with pytest.raises(InvalidAddressError):
        await address_check(normalise("http://node:11434"), POLICY)


async def test_a_scoped_link_local_answer_is_refused(dns: dict[str, list[str]]) -> None:
    dns["node"] = ["fe80::1%eth0"]
    with pytest.raises(InvalidAddressError):
        await address_check(normalise("http://node:11434"), POLICY)


async def test_an_unknown_name_is_a_resolve_error(dns: dict[str, list[str]]) -> None:
    with pytest.raises(ResolveError):
        await address_check(normalise("http://nobody:11434"), POLICY)


async def test_a_literal_is_judged_without_dns(dns: dict[str, list[str]]) -> None:
    await address_check(normalise("10.1.2.3"), POLICY)
    with pytest.raises(InvalidAddressError) as caught:
        await address_check(normalise("http://127.0.0.1:6379"), POLICY)
    assert caught.value.fault is AddressFault.PORT


async def test_a_name_server_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resolver, "RESOLVE_TIMEOUT_S", 0.05)
    given_up = threading.Event()
    monkeypatch.setattr(resolver, "getaddrinfo", lambda *_, **__: given_up.wait(30.0))
    began = time.monotonic()
    try:
        with pytest.raises(ResolveError):
            await resolver.addresses_of("slow", 11434)
        assert time.monotonic() - began < 10.0
    finally:
        given_up.set()
