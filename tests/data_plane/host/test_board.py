"""The board: every worker knows what the others do, and nobody locks anything."""

import os
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.host import board as module
from data_plane.host.board import ID_BYTES, RING, SLOTS, Board, HostCounts


def workers(count: int) -> tuple[Board, list[HostCounts]]:
    board = Board(count)
    return board, [HostCounts(board, number) for number in range(1, count + 1)]


def test_what_one_writes_the_others_see() -> None:
    _, (first, second, third) = workers(3)
    first.write("n1", 2)
    second.write("n1", 1)
    second.write("n2", 5)
    assert third.catch_up() == {"n1", "n2"}
    assert third.elsewhere == {"n1": 3, "n2": 5}
    assert first.catch_up() == {"n1", "n2"}
    assert first.elsewhere == {"n1": 1, "n2": 5}
    assert third.catch_up() == set()


def test_a_count_that_falls_to_zero_is_gone() -> None:
    _, (first, second) = workers(2)
    first.write("n1", 1)
    second.catch_up()
    first.write("n1", 0)
    assert second.catch_up() == {"n1"}
    assert second.elsewhere == {}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 2), st.sampled_from("abcdef"), st.integers(0, 9)),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
def test_any_order_of_writing_and_reading_ends_at_the_truth(
    steps: list[tuple[int, str, int] | int],
) -> None:
    _, views = workers(3)
    truth: dict[tuple[int, str], int] = {}
    for step in [*steps, 0, 1, 2]:
        if isinstance(step, tuple):
            worker, node_id, count = step
            views[worker].write(node_id, count)
            truth[worker, node_id] = count
            continue
        views[step].catch_up()
        expected: Counter[str] = Counter()
        for (worker, node_id), count in truth.items():
            if worker != step:
                expected[node_id] += count
        assert views[step].elsewhere == {key: count for key, count in expected.items() if count}


@pytest.mark.parametrize("changes", [RING - 65, RING - 64, RING - 63, RING, RING * 3, 70_000])
def test_a_reader_that_is_far_behind_reads_the_table(changes: int) -> None:
    _, (first, second) = workers(2)
    first.write("kept", 7)
    first.write("ended", 1)
    second.catch_up()
    first.write("ended", 0)
    for change in range(changes):
        first.write(f"n{change % 5}", change + 1)
    second.catch_up()
    expected = {f"n{change % 5}": change + 1 for change in range(changes)[-5:]}
    assert second.elsewhere == {"kept": 7, **expected}


def test_a_dead_workers_counts_are_taken_away_at_once() -> None:
    board, (first, second) = workers(2)
    first.write("n1", 3)
    second.catch_up()
    board.clear(1)
    assert second.catch_up() == {"n1"}
    assert second.elsewhere == {}


def test_the_next_life_of_a_worker_begins_at_zero_and_is_seen() -> None:
    board, (first, second) = workers(2)
    first.write("n1", 3)
    second.write("n2", 1)
    second.catch_up()
    again = HostCounts(board, 1)
    assert again.catch_up() == {"n2"}
    assert again.elsewhere == {"n2": 1}
    again.write("n3", 1)
    second.catch_up()
    assert second.elsewhere == {"n3": 1}


def test_a_slot_whose_node_is_idle_is_given_to_another() -> None:
    _, (first, second) = workers(2)
    for number in range(SLOTS):
        first.write(f"n{number}", 1)
    second.catch_up()
    first.write("one too many", 1)  # no slot is free: unseen
    second.catch_up()
    assert "one too many" not in second.elsewhere
    first.write("n5", 0)
    first.write("one too many", 2)
    second.catch_up()
    assert second.elsewhere["one too many"] == 2
    assert "n5" not in second.elsewhere
    assert len(second.elsewhere) == SLOTS


def test_a_slot_that_was_given_away_is_not_counted_for_its_first_node() -> None:
    _, (first, second) = workers(2)
    for number in range(SLOTS):
        first.write(f"n{number}", 1)
    second.catch_up()
    for number in range(3):
        first.write(f"n{number}", 0)
        first.write(f"m{number}", 4)
    second.catch_up()
    assert not second.elsewhere.keys() & {"n0", "n1", "n2"}
    assert [second.elsewhere[f"m{number}"] for number in range(3)] == [4, 4, 4]


def test_ids_of_any_text_that_fits() -> None:
    _, (first, second) = workers(2)
    longest = "é" * (ID_BYTES // 2)
    first.write(longest, 1)
    first.write("x" * (ID_BYTES + 1), 1)
    second.catch_up()
    assert second.elsewhere == {longest: 1}


def test_as_many_workers_as_fit() -> None:
    _, views = workers(64)
    for view in views:
        view.write("n1", 1)
    views[10].catch_up()
    assert views[10].elsewhere == {"n1": 63}
    with pytest.raises(ValueError, match="from 1 to 64"):
        Board(65)


def test_lives_are_counted() -> None:
    board = Board(2)
    board.started(2)
    board.started(2)
    assert (board.starts(1), board.starts(2)) == (0, 2)


def test_processes_that_write_at_the_same_time_agree_in_the_end() -> None:
    board = Board(3)
    changes, nodes = 20_000, 12
    gates = [os.pipe() for _ in range(2)]
    pids = [_writer(board, number, changes, nodes, gates) for number in (1, 2)]
    reader = HostCounts(board, 3)
    for read, _ in gates:
        while not _has_ended(read):
            reader.catch_up()
            assert all(0 <= count <= 2 * nodes for count in reader.elsewhere.values())
    reader.catch_up()
    # Each ended with its own number at every node.
    assert reader.elsewhere == {f"n{node}": 3 for node in range(nodes)}
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    for gate in gates:
        for descriptor in gate:
            os.close(descriptor)


def _writer(board: Board, number: int, changes: int, nodes: int, gates: list) -> int:
    """A child that writes and reads without a pause, and says when it is done."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        dice = random.Random(number)  # noqa: S311 - dice, no secret
        counts = HostCounts(board, number)
        for _ in range(changes):
            counts.write(f"n{dice.randrange(nodes)}", dice.randrange(nodes))
            counts.catch_up()
        for node in range(nodes):
            counts.write(f"n{node}", number)
        os.write(gates[number - 1][1], b"!")
        code = 0
    finally:
        os._exit(code)


def _has_ended(descriptor: int) -> bool:
    os.set_blocking(descriptor, False)
    try:
        return bool(os.read(descriptor, 1))
    except BlockingIOError:
        return False


def test_the_numbers_of_the_layout_fit() -> None:
    assert SLOTS - 1 <= module._SLOT
    assert RING <= module._POSITION
    assert (module._POSITION + 1) % RING == 0
