"""What nobody makes of a node: over HTTP, whole, as whoever tries it would."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from control_plane.accounts.models import AuditRecord
from control_plane.nodes import resolver
from control_plane.nodes.models import Node
from control_plane.revisions.selectors import revision_current
from shared.addresses import DEFAULT_ALLOWED_NETWORKS, AddressPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import SettingsWrapper
    from rest_framework.test import APIClient

NODES = "/api/proxy/nodes"
OURS = 6379


def refused(answer: Any, code: str) -> bool:
    """400 with this code at the address, and nothing done."""
    assert (answer.status_code, answer.data["code"]) == (400, code)
    assert answer.data["errors"]["address"]
    return not AuditRecord.objects.exists()


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://017700000001", "invalid_address"),
        ("http://[64:ff9b::a9fe:a9fe]", "invalid_address"),
        ("http://[2002:a9fe:a9fe::]", "invalid_address"),
        ("http://localhost.:11434", "invalid_address"),
        ("http://10.0.0.1/../x", "invalid_address"),
        ("http://10.0.0.1/a b", "invalid_address"),
        ("gopher://10.0.0.1", "invalid_address"),
        ("unix:/run/x.sock", "invalid_address"),
        ("http://10.0.0.1\r\nX: y", "invalid_address"),
        ("http://10.0.0.1:65536", "port_not_allowed"),
        ("http://10.0.0.1:-1", "invalid_address"),
        (f"http://127.0.0.1:{OURS}", "port_not_allowed"),
        (f"http://127.9.9.9:{OURS}", "port_not_allowed"),
        (f"http://[::1]:{OURS}", "port_not_allowed"),
        (f"http://localhost:{OURS}", "port_not_allowed"),
    ],
)
def test_c10_c11_c12_no_node_is_made_or_moved_there(
    as_operator: APIClient,
    make_node: Callable[..., Node],
    settings: SettingsWrapper,
    address: str,
    code: str,
) -> None:
    """S27."""
    networks = tuple(DEFAULT_ALLOWED_NETWORKS.split(","))
    settings.NODE_ADDRESS_POLICY = AddressPolicy.parse(networks, frozenset({OURS}))
    node = make_node()
    before = revision_current()
    assert refused(as_operator.post(NODES, {"name": "bad", "address": address}), code)
    assert refused(as_operator.patch(f"{NODES}/{node.pk}", {"address": address}), code)
    assert list(Node.objects.values_list("address", flat=True)) == [node.address]
    assert revision_current() == before


def test_c13_a_name_with_one_forbidden_address_is_refused_when_saved(
    as_operator: APIClient, make_node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """S26."""

    def getaddrinfo(_host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in ("10.0.0.1", "169.254.169.254")
        ]

    monkeypatch.setattr(resolver, "getaddrinfo", getaddrinfo)
    node = make_node()
    body = {"name": "both", "address": "http://both.example"}
    assert refused(as_operator.post(NODES, body), "address_not_allowed")
    answer = as_operator.patch(f"{NODES}/{node.pk}", {"address": "http://both.example"})
    assert refused(answer, "address_not_allowed")
    assert Node.objects.get().address == node.address


def test_c14_of_a_node_that_redirects_nothing_is_shown(
    as_operator: APIClient, start_node: Callable[..., Any]
) -> None:
    """S28."""
    bait, node = start_node(), start_node()
    node.fault("redirect", text=f"{bait.url}/api/version?canary", times=99)
    answer = as_operator.post(NODES, {"address": node.url})
    assert (answer.status_code, answer.data["probe"]["outcome"]) == (201, "not_ollama")
    assert answer.data["pool"] == "standby"
    assert bait.requests == []
    assert b"canary" not in answer.content


def test_c17_what_is_only_read_is_ignored_and_never_set(
    as_operator: APIClient, make_node: Callable[..., Node]
) -> None:
    node = make_node(health="unhealthy", health_reason="timeout")
    forged = {
        "id": "00000000-0000-0000-0000-000000000001",
        "health": "healthy",
        "health_reason": "",
        "pool": "active",
        "has_token": True,
        "latency_s": 0.0,
        "version": "9.9.9",
        "available_count": 99,
        "created_at": "2001-01-01T00:00:00Z",
    }
    answer = as_operator.patch(f"{NODES}/{node.pk}", forged)
    assert answer.status_code == 200
    assert {name: answer.data[name] for name in forged}.items().isdisjoint(forged.items())
    kept = Node.objects.get()
    assert (kept.pk, kept.health, kept.sealed_token) == (node.pk, "unhealthy", "")


@pytest.mark.parametrize("name", ["sealed_token", "is_fresh", "failures", "inventory", "tenant"])
def test_c17_what_is_not_shown_is_refused(
    as_operator: APIClient, make_node: Callable[..., Node], name: str
) -> None:
    answer = as_operator.patch(f"{NODES}/{make_node().pk}", {name: "x"})
    assert (answer.status_code, list(answer.data["errors"])) == (400, [name])


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "=cmd|'/c calc'!A1", '"><img src=x>']
)
def test_c30_c31_a_name_is_text_and_answers_are_never_html(
    as_operator: APIClient, make_node: Callable[..., Node], name: str
) -> None:
    node = make_node()
    answer = as_operator.patch(f"{NODES}/{node.pk}", {"name": name})
    assert (answer.status_code, answer.json()["name"]) == (200, name)
    assert answer["Content-Type"] == "application/json"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "script-src" not in answer["Content-Security-Policy"]
    assert "default-src 'self'" in answer["Content-Security-Policy"]
