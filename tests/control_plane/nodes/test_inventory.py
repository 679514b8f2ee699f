from __future__ import annotations

import datetime as dt

from control_plane.nodes import inventory
from control_plane.nodes.inventory import Inventory, encode_available, encode_loaded, is_changed
from shared.snapshot import LoadedModel, Model

NOW = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
LLAMA = Model(
    name="llama3:latest", canonical="registry.ollama.ai/library/llama3:latest", digest="a"
)
QWEN = Model(name="qwen3:8b", canonical="registry.ollama.ai/library/qwen3:8b", digest="b")


def loaded(expires_at: str, digest: str = "a") -> Inventory:
    model = LoadedModel(
        name=LLAMA.name, canonical=LLAMA.canonical, digest=digest, expires_at=expires_at
    )
    return Inventory(loaded=encode_loaded([model]))


def test_what_goes_in_comes_out_in_the_order_of_names() -> None:
    text = encode_available([(QWEN, "2"), (LLAMA, "1")])
    assert inventory.available_models(text) == [(LLAMA, "1"), (QWEN, "2")]
    assert text == encode_available([(LLAMA, "1"), (QWEN, "2")])


def test_equal_models_are_equal_bytes() -> None:
    one = inventory.available_entries(encode_available([(LLAMA, "1"), (QWEN, "1")]))
    other = inventory.available_entries(encode_available([(LLAMA, "2")]))
    assert one[0][0] == other[0][0]
    assert inventory.model_of(one[1][0]) == QWEN


def test_of_one_name_the_newer_entry_stays() -> None:
    text = encode_available([(LLAMA, "2026-02"), (LLAMA, "2026-03"), (LLAMA, "2026-01")])
    assert inventory.available_models(text) == [(LLAMA, "2026-03")]


def test_names_can_be_searched_whole() -> None:
    names = Inventory(available=encode_available([(LLAMA, "1"), (QWEN, "1")])).names
    assert f"\n{LLAMA.canonical}\n" in names
    assert "\nregistry.ollama.ai/library/llama3\n" not in names
    assert Inventory().names == ""


def test_a_node_that_lists_megabytes_is_cut_and_still_readable() -> None:
    many = [
        (
            Model(
                name=f"m{number}:x",
                canonical=f"c{number}",
                family="f" * 250,
                parent_model="p" * 250,
            ),
            "",
        )
        for number in range(3_000)
    ]
    text = encode_available(many)
    assert len(text) <= inventory.MAX_BYTES
    assert 1_000 < len(inventory.available_models(text)) < 3_000


def test_a_later_expiry_alone_is_no_change() -> None:
    before, after = loaded("2026-11-23T12:05:00Z"), loaded("2026-11-23T12:06:00.123456789+00:00")
    assert not is_changed(before, after, NOW)


def test_an_expiry_that_has_passed_for_the_data_planes_is_a_change() -> None:
    before, after = loaded("2026-11-23T19:59:00+08:00"), loaded("2026-11-23T20:05:00+08:00")
    assert is_changed(before, after, NOW)
    assert not is_changed(before, loaded("2026-11-23T19:59:30+08:00"), NOW)


def test_an_expiry_beyond_all_calendars_is_not_past() -> None:
    assert not is_changed(loaded("2318-03-05T12:00:00Z"), loaded("12318-03-05T12:00:00Z"), NOW)


def test_models_that_come_go_or_change_are_changes() -> None:
    one = Inventory(available=encode_available([(LLAMA, "1")]))
    assert is_changed(one, Inventory(), NOW)
    assert is_changed(one, Inventory(available=encode_available([(LLAMA, "2")])), NOW)
    assert is_changed(Inventory(), loaded("2026-11-23T12:05:00Z"), NOW)
    soon = "2026-11-23T12:05:00Z"
    assert is_changed(loaded(soon), loaded(soon, digest="b"), NOW)
