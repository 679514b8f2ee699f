from __future__ import annotations

import msgspec
import pytest

from control_plane.nodes.pulling import MAX_LAYERS, Progress, Step, read_record

FIRST = "sha256:" + "a" * 64
SECOND = "sha256:" + "b" * 64


def after(*lines: str) -> Progress:
    progress = Progress()
    for line in lines:
        progress.take(read_record(line.encode()))
    return progress


def pulling(digest: str, total: int, completed: int) -> str:
    return (
        f'{{"status":"pulling {digest[7:19]}","digest":"{digest}",'
        f'"total":{total},"completed":{completed}}}'
    )


def test_a_pull_goes_through_its_steps() -> None:
    said = (
        ('{"status":"pulling manifest"}', Step.MANIFEST),
        (pulling(FIRST, 10, 0), Step.DOWNLOADING),
        ('{"status":"verifying sha256 digest"}', Step.VERIFYING),
        ('{"status":"writing manifest"}', Step.WRITING),
        ('{"status":"removing unused layers"}', Step.CLEANING),
        ('{"status":"success"}', Step.DONE),
    )
    progress = Progress()
    for line, step in said:
        progress.take(read_record(line.encode()))
        assert progress.step is step


def test_bytes_are_summed_over_layers_and_the_newest_record_of_a_layer_counts() -> None:
    progress = after(pulling(FIRST, 100, 10), pulling(SECOND, 50, 50), pulling(FIRST, 100, 60))
    assert (progress.total_bytes, progress.completed_bytes) == (150, 110)
    assert [layer.completed_bytes for layer in progress.layers.values()] == [60, 50]


def test_the_first_record_of_a_layer_has_no_completed() -> None:
    progress = after(f'{{"status":"pulling aa","digest":"{FIRST}","total":7}}')
    assert (progress.total_bytes, progress.completed_bytes) == (7, 0)


def test_a_status_that_nobody_knows_changes_nothing() -> None:
    assert after('{"status":"pulling manifest"}', '{"status":"pondering"}').step is Step.MANIFEST


def test_what_no_honest_node_says_is_bounded() -> None:
    layers = [pulling(f"sha256:{number:064x}", 2**63, 2**63) for number in range(MAX_LAYERS + 9)]
    progress = after(*layers)
    assert len(progress.layers) == MAX_LAYERS
    assert progress.total_bytes < 2**63
    assert after(pulling(FIRST, 10, 99)).completed_bytes == 10
    assert after(pulling(FIRST, -10, -99)).total_bytes == 0
    assert after(pulling("sha256:" + "z" * 64, 10, 5)).layers == {}


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b'{"status":7}', b'{"total":"much"}', b"\xff"])
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_record(line)
