"""A sealed snapshot: stable bytes, and a named reason for every refusal."""

import pytest

from shared import wire
from shared.snapshot import AvailableModel, Model, Node, ProxyConfig, Snapshot
from shared.wire import Refusal, RefusedError

KEY = b"a snapshot key of enough bytes"


def snapshot(*, revision: int = 7, model_index: int = 0) -> Snapshot:
    return Snapshot(
        epoch="6f9f3c1e",
        revision=revision,
        built_at=1_700_000_000.0,
        config=ProxyConfig(),
        models=(Model(name="llama3:latest", canonical="registry.ollama.ai/library/llama3:latest"),),
        nodes=(
            Node(
                id="n1",
                name="one",
                address="http://127.0.0.1:11434",
                available=(AvailableModel(model_index, "2026-01-01T00:00:00Z"),),
            ),
        ),
        keys=(),
    )


def test_what_is_sealed_opens_to_the_same_state() -> None:
    assert wire.open_sealed(wire.seal(snapshot(), KEY), KEY) == snapshot()


def test_the_same_state_gives_the_same_bytes() -> None:
    assert wire.seal(snapshot(), KEY) == wire.seal(snapshot(), KEY)


def test_unknown_fields_are_ignored() -> None:
    """F49."""
    sealed = wire.seal(snapshot(), KEY)
    header, _, payload = sealed.partition(b"\n")
    assert (
        wire.open_sealed(
            header.replace(b'{"schema"', b'{"later":1,"schema"') + b"\n" + payload, KEY
        )
        == snapshot()
    )


def refusal_of(data: bytes, key: bytes = KEY) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        wire.open_sealed(data, key)
    return caught.value.reason


def test_every_single_flipped_byte_is_refused() -> None:
    sealed = wire.seal(snapshot(), KEY)
    for index in range(len(sealed)):
        flipped = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(RefusedError):
            wire.open_sealed(flipped, KEY)


def test_every_truncation_is_refused() -> None:
    sealed = wire.seal(snapshot(), KEY)
    for length in range(len(sealed)):
        with pytest.raises(RefusedError):
            wire.open_sealed(sealed[:length], KEY)


def test_another_key_is_a_bad_signature() -> None:
    """S43."""
    assert refusal_of(wire.seal(snapshot(), b"somebody else's own key")) is Refusal.BAD_SIGNATURE


def test_a_changed_payload_is_a_bad_hash() -> None:
    sealed = wire.seal(snapshot(), KEY)
    assert refusal_of(sealed.replace(b"127.0.0.1", b"127.6.6.6")) is Refusal.BAD_HASH


def test_a_newer_schema_is_refused_by_name() -> None:
    sealed = wire.seal(snapshot(), KEY)
    assert refusal_of(sealed.replace(b'"schema":1', b'"schema":2')) is Refusal.UNKNOWN_SCHEMA


@pytest.mark.parametrize("data", [b"", b"{}", b"{}\n{}", b"garbage\n", b'{"schema":1}\n'])
def test_what_is_no_snapshot_is_malformed(data: bytes) -> None:
    assert refusal_of(data) is Refusal.MALFORMED


def test_a_model_beyond_the_table_is_malformed() -> None:
    assert refusal_of(wire.seal(snapshot(model_index=1), KEY)) is Refusal.MALFORMED


def test_an_oversized_snapshot_is_refused_unread() -> None:
    """F49, S50."""
    assert refusal_of(b" " * (wire.MAX_SNAPSHOT_BYTES + 1)) is Refusal.TOO_LARGE


def test_a_short_key_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        wire.seal(snapshot(), b"short")


def test_the_hint_names_what_was_sealed() -> None:
    sealed = wire.seal(snapshot(), KEY)
    hint = wire.hint_of(sealed)
    assert (hint.epoch, hint.revision) == ("6f9f3c1e", 7)
    assert wire.decode_hint(wire.encode_hint(hint)) == hint


@pytest.mark.parametrize("data", [b"", b"1", b"{}", b"\xff"])
def test_what_is_no_hint_is_none(data: bytes) -> None:
    assert wire.decode_hint(data) is None
