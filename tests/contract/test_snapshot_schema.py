"""Golden snapshots: what one release wrote, every later one with the same schema must read.

A golden file is never rewritten. A change that breaks one needs a new schema number in
`shared/wire.py`, a row in its table, and a new golden file beside the old.
"""

from pathlib import Path

import msgspec
import pytest

from shared import wire
from shared.snapshot import Scope, Snapshot, Strategy, Verdict
from shared.wire import Refusal, RefusedError

GOLDEN = Path(__file__).parent / "golden"
KEY = b"the key of the golden snapshots"


def golden(schema: int) -> bytes:
    return (GOLDEN / f"snapshot-{schema}.sealed").read_bytes()


def test_the_current_schema_has_a_golden_file() -> None:
    assert wire.peek(golden(wire.SCHEMA)).schema == wire.SCHEMA


def test_the_golden_snapshot_reads_as_it_was_meant() -> None:
    snapshot = wire.open_sealed(golden(1), KEY)
    assert (snapshot.epoch, snapshot.revision) == ("0190b6a2-7b3c-7e11-8f00-000000000001", 42)
    assert snapshot.config.strategy is Strategy.LOWEST_LATENCY
    assert snapshot.config.health_interval_s == 30.0
    first, second = snapshot.nodes
    assert (first.verdict, first.weight, first.max_parallel) == (Verdict.HEALTHY, 2.0, 4)
    assert snapshot.models[first.available[0].model].canonical.endswith("/llama3.2:latest")
    assert first.loaded[0].size_vram_bytes == 3_000_000_000
    assert (second.wished, second.sealed_token) == (False, "sealed")
    assert snapshot.keys[0].allowed_models == ("registry.ollama.ai/library/llama3.2:*",)
    assert snapshot.keys[1].expires_at == 1_800_000_000.0


def test_a_key_of_a_writer_that_knew_no_scopes_is_for_inference() -> None:
    assert {key.scopes for key in wire.open_sealed(golden(1), KEY).keys} == {(Scope.INFERENCE,)}


def test_scopes_survive_the_wire() -> None:
    before = wire.open_sealed(golden(1), KEY)
    key = msgspec.structs.replace(before.keys[0], scopes=(Scope.MANAGE,))
    after = msgspec.structs.replace(before, keys=(key,))
    assert wire.open_sealed(wire.seal(after, KEY), KEY).keys[0].scopes == (Scope.MANAGE,)


def test_what_this_release_writes_has_the_golden_bytes() -> None:
    assert wire.seal(wire.open_sealed(golden(1), KEY), KEY) == golden(1)


def test_a_reader_of_today_takes_a_writer_of_tomorrow_who_only_adds_fields() -> None:
    payload = msgspec.json.decode(golden(1).partition(b"\n")[2])
    payload["later"] = {"anything": 1}
    payload["nodes"][0]["later"] = "anything"
    payload["models"][0]["later"] = None
    snapshot = msgspec.convert(payload, Snapshot, strict=False)
    assert snapshot.nodes[0].name == "gpu-1"


def test_a_reader_of_today_names_a_schema_of_tomorrow() -> None:
    with pytest.raises(RefusedError) as caught:
        wire.open_sealed(golden(1).replace(b'"schema":1', b'"schema":2', 1), KEY)
    assert caught.value.reason is Refusal.UNKNOWN_SCHEMA
    assert caught.value.header is not None
    assert caught.value.header.revision == 42
