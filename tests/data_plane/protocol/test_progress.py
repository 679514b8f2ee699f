"""The progress of many nodes as that of one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.progress import (
    MAX_LAYERS,
    MAX_PHASES,
    BadRecordError,
    Progress,
    Record,
    read_record,
)

LAYER = "sha256:" + "a" * 64


def told(progress: Progress) -> list[dict[str, object]]:
    return [json.loads(line) for line in progress.news()]


def layer(completed: int, total: int = 100) -> Record:
    return Record("pulling aaaaaaaaaaaa", LAYER, total, completed)


def test_of_one_node_it_is_what_the_node_says() -> None:
    progress = Progress(1)
    for record in (Record("pulling manifest"), layer(0), layer(60)):
        progress.take(0, record)
    assert told(progress) == [
        {"status": "pulling manifest"},
        {"status": "pulling aaaaaaaaaaaa", "digest": LAYER, "total": 100, "completed": 60},
    ]
    progress.take(0, layer(100))
    progress.take(0, Record("verifying sha256 digest"))
    assert [line["status"] for line in told(progress)] == [
        "pulling aaaaaaaaaaaa",
        "verifying sha256 digest",
    ]


def test_layers_of_all_nodes_add_up_and_never_go_back() -> None:
    progress = Progress(2)
    progress.take(0, layer(40))
    assert told(progress)[0] | {"status": ""} == {
        "status": "",
        "digest": LAYER,
        "total": 200,
        "completed": 40,
    }
    progress.take(1, layer(30))
    progress.take(0, layer(10))  # it began anew
    assert told(progress)[0]["completed"] == 70
    assert not told(progress), "nothing new"


def test_the_first_phase_is_told_at_once_and_later_ones_when_all_have_come_to_them() -> None:
    progress = Progress(2)
    progress.take(0, Record("pulling manifest"))
    assert told(progress) == [{"status": "pulling manifest"}]
    progress.take(1, Record("pulling manifest"))
    progress.take(0, Record("verifying sha256 digest"))
    assert told(progress) == []
    progress.take(1, Record("verifying sha256 digest"))
    assert told(progress) == [{"status": "verifying sha256 digest"}]


def test_nobody_waits_for_a_node_that_has_failed_or_is_done() -> None:
    progress = Progress(3)
    progress.take(0, Record("pulling manifest"))
    told(progress)
    progress.take(0, layer(100))
    progress.take(0, Record("writing manifest"))
    progress.leave(1)
    assert [line.get("completed") for line in told(progress)] == [100]
    progress.take(2, Record("success"))
    assert told(progress) == [
        {"status": "pulling aaaaaaaaaaaa", "digest": LAYER, "total": 300, "completed": 200},
        {"status": "writing manifest"},
    ]


def test_a_node_that_names_without_end_is_not_believed() -> None:
    progress = Progress(1)
    for number in range(MAX_LAYERS + 10):
        progress.take(0, Record("pulling", f"sha256:{number:064}", 1, 1))
        progress.take(0, Record(f"phase {number}"))
    lines = told(progress)
    assert sum("digest" in line for line in lines) == MAX_LAYERS
    assert sum("digest" not in line for line in lines) == MAX_PHASES


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"status":1}', b'{"total":"x"}'])
def test_what_is_no_progress_is_refused(line) -> None:
    with pytest.raises(BadRecordError):
        read_record(line)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(-5, 150), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_a_bar_never_goes_back_or_beyond_its_end(steps) -> None:
    progress, last = Progress(3), 0
    for node, completed, is_done, is_gone in steps:
        progress.take(node, Record("success") if is_done else layer(completed))
        if is_gone:
            progress.leave(node)
        for line in told(progress):
            assert last <= line.get("completed", 0) <= line["total"] == 300
            last = line.get("completed", 0)
