from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from control_plane.accounts.models import AuditRecord
from control_plane.nodes.inventory import Inventory, encode_available
from control_plane.nodes.models import Node, NodeInventory
from control_plane.revisions.selectors import revision_current
from shared.snapshot import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.test import APIClient

NODES = "/api/proxy/nodes"
MODEL_COUNT = 50


@pytest.fixture
def dead_url() -> str:
    """An address where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_new_node_is_probed_and_answered_with_what_was_found(
    as_operator: APIClient, start_node: Callable[..., Any]
) -> None:
    fake = start_node(models=["llama3.2", "qwen3:8b"])
    before = revision_current()
    answer = as_operator.post(NODES, {"name": "gpu-1", "address": fake.url, "weight": 2})
    assert answer.status_code == 201, answer.data
    assert answer.data["probe"]["outcome"] == "ok"
    assert answer.data["probe"]["models"] == 2
    assert answer.data["probe"]["version"] == answer.data["version"] == "0.33.0"
    assert (answer.data["pool"], answer.data["health"]) == ("active", "healthy")
    held = {model["name"]: model for model in answer.data["available_models"]}
    assert held.keys() == {"llama3.2:latest", "qwen3:8b"}
    assert held["qwen3:8b"].keys() >= {
        "digest",
        "size_bytes",
        "family",
        "parameter_size",
        "quantization",
        "modified_at",
    }
    assert answer["Location"] == f"{NODES}/{answer.data['id']}"
    assert revision_current()[1] == before[1] + 1
    assert as_operator.get(answer["Location"]).data["address"] == fake.url


def test_an_unreachable_node_is_saved_in_standby_with_the_reason(
    as_operator: APIClient, dead_url: str
) -> None:
    answer = as_operator.post(NODES, {"name": "off", "address": dead_url})
    assert answer.status_code == 201
    assert answer.data["pool"] == "standby"
    assert answer.data["health_reason"] == answer.data["probe"]["outcome"] == "refused"
    assert "Ollama" in answer.data["health_detail"]


def test_host_and_port_are_taken_as_the_replaced_system_had_them(
    as_operator: APIClient, start_node: Callable[..., Any]
) -> None:
    fake = start_node()
    answer = as_operator.post(NODES, {"host": "127.0.0.1", "port": fake.port})
    assert answer.status_code == 201
    assert answer.data["address"] == fake.url
    assert answer.data["name"] == f"127.0.0.1:{fake.port}"
    assert (answer.data["host"], answer.data["port"]) == ("127.0.0.1", fake.port)


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://169.254.169.254", "address_not_allowed"),
        ("http://[fe80::1]:11434", "address_not_allowed"),
        ("http://[fd00:ec2::254]", "address_not_allowed"),
        ("http://100.100.100.200", "address_not_allowed"),
        ("http://168.63.129.16", "address_not_allowed"),
        ("http://0.0.0.0:11434", "address_not_allowed"),
        ("http://224.0.0.1", "address_not_allowed"),
        ("http://255.255.255.255", "address_not_allowed"),
        ("http://8.8.8.8", "address_not_allowed"),
        ("http://127.1:11434", "invalid_address"),
        ("http://2130706433", "invalid_address"),
        ("http://0x7f.1", "invalid_address"),
        ("http://[::ffff:169.254.169.254]", "invalid_address"),
        ("http://user@10.0.0.1", "invalid_address"),
        ("http://10.0.0.1/?a=b", "invalid_address"),
        ("http://10.0.0.1/#x", "invalid_address"),
        ("ftp://10.0.0.1", "invalid_address"),
        ("file:///etc/passwd", "invalid_address"),
        ("http://exämple.com", "invalid_address"),
        ("http://10.0.0.1:0", "port_not_allowed"),
    ],
)
def test_addresses_where_nodes_may_not_be_are_refused(
    as_operator: APIClient, address: str, code: str
) -> None:
    """C09, S25."""
    answer = as_operator.post(NODES, {"name": "bad", "address": address})
    assert (answer.status_code, answer.data["code"]) == (400, code)
    assert answer.data["errors"]["address"]
    assert not Node.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "no address"},
        {"name": "x\nlog injection", "address": "10.0.0.1"},
        {"name": "x" * 65, "address": "10.0.0.1"},
        {"name": "nul\0", "address": "10.0.0.1"},
        {"name": "bidi\u202e", "address": "10.0.0.1"},
        {"name": "x", "address": "10.0.0.1", "weight": 0},
        {"name": "x", "address": "10.0.0.1", "weight": "nan"},
        {"name": "x", "address": "10.0.0.1", "max_parallel": 0},
        {"name": "x", "address": "10.0.0.1", "token": "line\r\nbreak"},
        {"name": "x", "address": "10.0.0.1", "is_superuser": True},
        ["not", "an", "object"],
    ],
)
def test_what_is_no_node_is_refused(as_operator: APIClient, body: object) -> None:
    """C17, C31."""
    answer = as_operator.post(NODES, body)
    assert answer.status_code == 400
    assert answer.data["errors"]
    assert not Node.objects.exists()


def test_an_address_and_a_name_are_used_once(
    as_operator: APIClient, make_node: Callable[..., Node]
) -> None:
    """C15."""
    node = make_node()
    same = as_operator.post(NODES, {"name": "other", "address": "HTTP://10.0.0.1:11434/"})
    assert (same.status_code, same.data["code"]) == (409, "already_exists")
    named = as_operator.post(NODES, {"name": node.name, "address": "http://10.0.0.9"})
    assert (named.status_code, named.data["code"]) == (409, "already_exists")


def test_what_was_read_can_be_sent_back(
    as_operator: APIClient, start_node: Callable[..., Any]
) -> None:
    made = as_operator.post(NODES, {"address": start_node(token="abc").url, "token": "abc"}).data
    read = as_operator.get(f"{NODES}/{made['id']}").data
    answer = as_operator.put(f"{NODES}/{made['id']}", read)
    assert answer.status_code == 200, answer.data
    assert answer.data["has_token"] is True
    assert answer.data["health"] == "healthy"


def test_the_token_is_sealed_and_never_shown(
    as_operator: APIClient, start_node: Callable[..., Any]
) -> None:
    """S35."""
    fake = start_node(token="canary-token")
    answer = as_operator.post(NODES, {"address": fake.url, "token": "canary-token"})
    assert answer.data["probe"]["outcome"] == "ok"
    node = Node.objects.get()
    assert node.sealed_token
    assert "canary" not in node.sealed_token
    for path in (NODES, f"{NODES}/{node.pk}"):
        assert "canary" not in as_operator.get(path).content.decode()
    assert "canary" not in str(list(AuditRecord.objects.values()))
    without = as_operator.patch(f"{NODES}/{node.pk}", {"token": ""})
    assert (without.data["has_token"], without.data["probe"]["outcome"]) == (False, "unauthorized")
    assert without.data["pool"] == "standby"


@pytest.mark.parametrize("is_by_port", [True, False])
def test_a_token_does_not_go_to_another_address_unless_it_is_given_again(
    as_operator: APIClient, start_node: Callable[..., Any], is_by_port: bool
) -> None:
    """S35: who may edit nodes could have it sent to a listener of their own, and read it there."""
    fake, listener = start_node(token="canary-token"), start_node()
    node = as_operator.post(NODES, {"address": fake.url, "token": "canary-token"}).data
    path = f"{NODES}/{node['id']}"
    elsewhere = {"port": listener.port} if is_by_port else {"address": listener.url}
    answer = as_operator.patch(path, elsewhere)
    assert (answer.status_code, answer.data["code"]) == (400, "invalid")
    assert list(answer.data["errors"]) == ["token"]
    assert listener.requests == []
    assert as_operator.get(path).data["address"] == fake.url
    assert as_operator.patch(path, {"address": f"{fake.url}/prefix"}).status_code == 200
    for token in ("canary-token", ""):
        moved = as_operator.patch(path, {"address": listener.url, "token": token})
        assert (moved.status_code, moved.data["has_token"]) == (200, bool(token))
    assert as_operator.patch(path, {"address": fake.url}).status_code == 200


def test_readdressing_forgets_the_old_health_and_probes_the_new_address(
    as_operator: APIClient, start_node: Callable[..., Any], dead_url: str
) -> None:
    first, second = start_node(version="0.30.0"), start_node(models=["qwen3:8b"])
    node = as_operator.post(NODES, {"address": first.url}).data
    moved = as_operator.patch(f"{NODES}/{node['id']}", {"address": second.url}).data
    assert (moved["probe"]["outcome"], moved["version"]) == ("ok", "0.33.0")
    assert [model["name"] for model in moved["available_models"]] == ["qwen3:8b"]
    lost = as_operator.patch(f"{NODES}/{node['id']}", {"address": dead_url}).data
    assert (lost["probe"]["outcome"], lost["pool"]) == ("refused", "standby")
    port = as_operator.patch(f"{NODES}/{node['id']}", {"port": first.port}).data
    assert (port["address"], port["probe"]["outcome"]) == (first.url, "ok")


def test_an_edit_that_leads_nowhere_else_probes_nothing(
    as_operator: APIClient, make_node: Callable[..., Node]
) -> None:
    node = make_node()
    answer = as_operator.patch(f"{NODES}/{node.pk}", {"active": False, "weight": 3.5})
    assert answer.status_code == 200
    assert answer.data["probe"] is None
    assert (answer.data["pool"], answer.data["weight"]) == ("standby", 3.5)


def test_a_stale_edit_is_refused(as_operator: APIClient, make_node: Callable[..., Node]) -> None:
    """C16."""
    path = f"{NODES}/{make_node().pk}"
    seen = as_operator.get(path)
    assert (
        as_operator.patch(path, {"weight": 2, "revision": seen.data["revision"]}).status_code == 200
    )
    stale = as_operator.patch(path, {"weight": 3, "revision": seen.data["revision"]})
    assert (stale.status_code, stale.data["code"]) == (409, "version_conflict")
    by_header = as_operator.patch(path, {"weight": 3}, headers={"If-Match": seen["ETag"]})
    assert by_header.status_code == 409
    for odd in ("9" * 5_000, '"-1"', '"1","2"', '"', "x"):
        answer = as_operator.patch(path, {"weight": 3}, headers={"If-Match": odd})
        assert (answer.status_code, answer.data["code"]) == (409, "version_conflict")
    huge = as_operator.patch(path, {"weight": 3, "revision": 10**400})
    assert (huge.status_code, huge.data["code"]) == (409, "version_conflict")
    assert Node.objects.get().weight == 2
    fresh = as_operator.get(path)["ETag"]
    assert as_operator.patch(path, {"weight": 3}, headers={"If-Match": fresh}).status_code == 200
    assert as_operator.delete(path, headers={"If-Match": seen["ETag"]}).status_code == 409
    assert as_operator.delete(path).status_code == 204


def test_edits_are_audited_with_before_and_after(
    as_operator: APIClient, make_node: Callable[..., Node]
) -> None:
    node = make_node()
    as_operator.patch(f"{NODES}/{node.pk}", {"weight": 4})
    as_operator.delete(f"{NODES}/{node.pk}")
    edit, gone = AuditRecord.objects.order_by("pk")
    assert (edit.action, edit.before["weight"], edit.after["weight"]) == ("node.update", 1.0, 4.0)
    assert (gone.action, gone.target, gone.after) == ("node.delete", f"node:{node.pk}", None)


def test_viewers_read_and_do_not_write(
    as_viewer: APIClient, make_node: Callable[..., Node]
) -> None:
    path = f"{NODES}/{make_node().pk}"
    assert as_viewer.get(NODES).status_code == 200
    assert as_viewer.get(path).status_code == 200
    assert as_viewer.post(NODES, {"address": "http://10.0.0.7"}).status_code == 403
    assert as_viewer.patch(path, {"weight": 2}).status_code == 403
    assert as_viewer.delete(path).status_code == 403
    assert as_viewer.post(f"{path}/check").status_code == 403


@pytest.mark.parametrize("id_", ["1", "x", "../accounts", "6f0d8a6e-0f9c-4f1e-9a53-7a3c1f0c9b11"])
def test_an_id_that_is_nobody_is_404(as_operator: APIClient, id_: str) -> None:
    for call in (as_operator.get, as_operator.patch, as_operator.delete):
        assert call(f"{NODES}/{id_}").status_code == 404


def test_check_now_brings_a_node_back_with_one_good_probe(
    as_operator: APIClient, make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> None:
    fake = start_node()
    node = make_node(address=fake.url, health="unhealthy", health_reason="timeout", failures=9)
    answer = as_operator.post(f"{NODES}/{node.pk}/check/")
    assert answer.status_code == 200
    assert (answer.data["probe"]["outcome"], answer.data["pool"]) == ("ok", "active")
    assert answer.data["available_count"] == 1


def test_lists_filter_search_order_page_and_thin_out(
    as_viewer: APIClient, make_node: Callable[..., Node]
) -> None:
    for number in range(5):
        make_node(name=f"n{number}", active=number != 2, latency_s=None if number == 0 else number)
    llama = Model(name="llama3:latest", canonical="registry.ollama.ai/library/llama3:latest")
    held = Inventory(available=encode_available([(llama, "2026")]))
    NodeInventory.objects.filter(node__name="n3").update(
        available=held.available, names=held.names, available_count=1
    )

    def names(query: str) -> list[str]:
        answer = as_viewer.get(f"{NODES}?{query}")
        assert answer.status_code == 200, answer.data
        return [node["name"] for node in answer.data["results"]]

    assert names("") == ["n0", "n1", "n2", "n3", "n4"]
    assert names("active=false") == ["n2"]
    assert names("health=unhealthy") == []
    assert names("model=LLAMA3") == ["n3"]
    assert names("name=n1") == ["n1"]
    assert names("search=N4") == ["n4"]
    assert names("ordering=-latency_s") == ["n4", "n3", "n2", "n1", "n0"]
    assert names("order=-name&limit=2&offset=1") == ["n3", "n2"]
    page = as_viewer.get(f"{NODES}?limit=2&fields=id,name,available_models&ordering=-name").data
    assert page["count"] == 5
    assert page["results"][1].keys() == {"id", "name", "available_models"}
    assert page["results"][1]["available_models"][0]["name"] == "llama3:latest"
    assert "available_models" not in as_viewer.get(NODES).data["results"][0]


@pytest.mark.parametrize(
    "query",
    [
        "ordering=sealed_token",
        "ordering=__class__",
        "ordering=inventory__names",
        "sealed_token=x",
        "name__startswith=n",
        "active=maybe",
        "health=fine",
        "model=%00",
        "search=%00",
        "limit=-1",
        "offset=x",
        "fields=sealed_token",
    ],
)
def test_what_no_list_takes_is_refused(as_viewer: APIClient, query: str) -> None:
    answer = as_viewer.get(f"{NODES}?{query}")
    assert (answer.status_code, answer.data["code"]) == (400, "invalid_filter")


def test_a_page_of_a_thousand_nodes_with_fifty_models_is_quick(as_viewer: APIClient) -> None:
    models = [Model(name=f"m{n}:8b", canonical=f"c/l/m{n}:8b", digest="d" * 64) for n in range(200)]
    nodes = [
        Node(name=f"n{n:04}", address=f"http://10.0.{n // 250}.{n % 250 + 1}:11434")
        for n in range(1_000)
    ]
    Node.objects.bulk_create(nodes)
    rows = []
    for number, node in enumerate(nodes):
        mine = [(models[(number + k) % 200], "2026-11-23T01:02:03Z") for k in range(MODEL_COUNT)]
        held = Inventory(available=encode_available(mine))
        rows.append(NodeInventory(node=node, available=held.available, names=held.names))
    NodeInventory.objects.bulk_create(rows)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        answer = as_viewer.get(NODES)
        taken.append(time.perf_counter() - began)
        assert answer.data["count"] == 1_000
    assert min(taken) < 0.2
    began = time.perf_counter()
    assert as_viewer.get(f"{NODES}?model=m3:8b").data["count"] == 0
    assert time.perf_counter() - began < 1.0
