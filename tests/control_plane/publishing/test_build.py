from __future__ import annotations

import hashlib
import time

import pytest
from django.conf import settings

from control_plane.common import secrets
from control_plane.nodes.inventory import Inventory, encode_available, encode_loaded
from control_plane.nodes.models import Node, NodeInventory
from control_plane.publishing.build import snapshot_build
from control_plane.revisions.selectors import revision_current
from shared import wire
from shared.snapshot import LoadedModel, Model, ProxyConfig, Verdict

pytestmark = pytest.mark.django_db


def model(name: str, digest: str = "d") -> Model:
    return Model(
        name=f"{name}:latest", canonical=f"registry.ollama.ai/library/{name}:latest", digest=digest
    )


def hold(node: Node, *models: Model, loaded: tuple[LoadedModel, ...] = ()) -> None:
    stamped = [(held, f"2026-11-2{number}T00:00:00Z") for number, held in enumerate(models)]
    held = Inventory(encode_available(stamped), encode_loaded(loaded))
    NodeInventory.objects.create(
        node=node, available=held.available, loaded=held.loaded, names=held.names
    )


def test_an_empty_database_is_a_snapshot_too() -> None:
    snapshot = snapshot_build()
    assert (snapshot.epoch, snapshot.revision) == revision_current()
    assert (snapshot.nodes, snapshot.models, snapshot.keys) == ((), (), ())
    assert snapshot.config == ProxyConfig()


def test_a_node_is_told_with_everything_a_data_plane_needs() -> None:
    node = Node.objects.create(
        name="gpu",
        address="http://10.0.0.1:11434",
        active=False,
        health="unhealthy",
        health_reason="timeout",
        weight=2.5,
        max_parallel=4,
        version="0.33.0",
        sealed_token=secrets.seal("abc"),
    )
    busy = LoadedModel(name="a:latest", canonical="registry.ollama.ai/library/a:latest", digest="d")
    hold(node, model("a"), loaded=(busy,))
    (told,) = snapshot_build().nodes
    assert (told.id, told.name, told.address) == (str(node.pk), "gpu", "http://10.0.0.1:11434")
    assert (told.wished, told.verdict, told.reason) == (False, Verdict.UNHEALTHY, "timeout")
    assert (told.weight, told.max_parallel, told.version) == (2.5, 4, "0.33.0")
    assert secrets.unseal(told.sealed_token) == "abc"
    assert told.loaded == (busy,)


def test_equal_models_stand_in_the_table_once() -> None:
    for number, models in enumerate([("a", "b"), ("b", "c"), ("c",)]):
        node = Node.objects.create(name=f"n{number}", address=f"http://10.0.0.{number}:1")
        hold(node, *(model(name) for name in models))
    other = Node.objects.create(name="drifted", address="http://10.0.0.9:1")
    hold(other, model("a", digest="other"))
    snapshot = snapshot_build()
    assert len(snapshot.models) == 4
    assert {
        node.name: sorted(
            (snapshot.models[held.model].name, snapshot.models[held.model].digest)
            for held in node.available
        )
        for node in snapshot.nodes
    } == {
        "n0": [("a:latest", "d"), ("b:latest", "d")],
        "n1": [("b:latest", "d"), ("c:latest", "d")],
        "n2": [("c:latest", "d")],
        "drifted": [("a:latest", "other")],
    }


def test_a_node_without_an_inventory_holds_nothing() -> None:
    Node.objects.create(name="new", address="http://10.0.0.1:1")
    assert snapshot_build().nodes[0].available == ()


def test_building_writes_nothing_and_asks_little(django_assert_num_queries: object) -> None:
    for number in range(20):
        node = Node.objects.create(name=f"n{number}", address=f"http://10.0.0.{number}:1")
        hold(node, model("a"))
    with django_assert_num_queries(4):  # revision, nodes, proxy config, keys
        snapshot_build()


def test_a_thousand_nodes_with_fifty_models_are_built_within_a_second_and_stay_small() -> None:
    models = [
        Model(
            name=f"model-{number}:8b-instruct-q4_K_M",
            canonical=f"registry.ollama.ai/library/model-{number}:8b-instruct-q4_k_m",
            digest=hashlib.sha256(str(number).encode()).hexdigest(),
            size_bytes=4_700_000_000 + number,
            format="gguf",
            family="llama",
            families=("llama",),
            parameter_size="8.0B",
            quantization="Q4_K_M",
            context_length=131_072,
            embedding_length=4_096,
            capabilities=("completion", "tools"),
        )
        for number in range(400)
    ]
    nodes = [
        Node(
            name=f"node-{number:04}",
            address=f"http://10.0.{number // 250}.{number % 250 + 1}:11434",
        )
        for number in range(1_000)
    ]
    Node.objects.bulk_create(nodes)
    rows = []
    for number, node in enumerate(nodes):
        stamped = [
            (models[(number * 7 + k) % 400], f"2026-11-2{k % 10}T01:02:03.{number:09}+08:00")
            for k in range(50)
        ]
        rows.append(NodeInventory(node=node, available=encode_available(stamped)))
    NodeInventory.objects.bulk_create(rows)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        snapshot = snapshot_build()
        taken.append(time.perf_counter() - began)
    assert min(taken) < 1.0
    assert sum(len(node.available) for node in snapshot.nodes) == 50_000
    assert len(snapshot.models) == 400
    sealed = wire.seal(snapshot, settings.SNAPSHOT_KEY)
    assert len(sealed) < wire.MAX_SNAPSHOT_BYTES / 4
    assert wire.open_sealed(sealed, settings.SNAPSHOT_KEY) == snapshot
