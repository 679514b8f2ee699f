"""Which beginning of a prompt a node has in its cache."""

from math import e, exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.prefix import (
    BLOCK_BYTES,
    BLOCK_TOKENS,
    FIRST_DEPTH,
    KEPT,
    MAX_BYTES,
    RETURN_S,
    Prompts,
    block_hashes,
    common,
)

texts = st.binary(max_size=6 * BLOCK_BYTES)


@given(shared=texts, one=texts, other=texts)
def test_as_many_blocks_are_in_common_as_begin_alike(shared, one, other) -> None:
    first, second = shared + one, shared + other
    alike = 0
    while alike < min(len(first), len(second)) and first[alike] == second[alike]:
        alike += 1
    hashes = block_hashes(b"m", [first]), block_hashes(b"m", [second])
    assert common(*hashes) == alike // BLOCK_BYTES


@given(parts=st.lists(texts, max_size=4))
def test_how_a_text_is_cut_into_parts_makes_no_difference(parts) -> None:
    assert block_hashes(b"m", parts) == block_hashes(b"m", [b"".join(parts)])


def test_another_model_or_other_options_have_nothing_in_common() -> None:
    text = b"x" * 1_000
    assert common(block_hashes(b"one", [text]), block_hashes(b"two", [text])) == 0


def test_hashing_is_bounded() -> None:
    assert len(block_hashes(b"", [b"x" * 10 * MAX_BYTES])) == MAX_BYTES // BLOCK_BYTES


def blocks(*numbers):
    return tuple(numbers)


def test_the_share_that_is_cached_is_that_of_the_best_prompt() -> None:
    prompts = Prompts()
    prompts.put(blocks(1, 2, 3, 4), 0.0)
    prompts.put(blocks(5, 9), 0.0)
    assert prompts.hit(blocks(1, 2, 7, 8), 0.0)[0] == 0.5
    assert prompts.hit(blocks(6, 7), 0.0) == (0.0, 0.0)
    assert prompts.hit((), 0.0) == (0.0, 0.0)


def test_what_gives_way_is_the_prompt_that_is_begun_like_ours_else_the_oldest() -> None:
    prompts = Prompts()
    for number, at in ((1, 0.0), (2, 30.0), (3, 50.0)):
        prompts.put(blocks(number, 70, 80, 90), at)
    assert prompts.hit(blocks(8, 9), 60.0) == (0.0, 0.0)  # there is room for a fourth
    prompts.put(blocks(4, 70, 80, 90), 55.0)
    oldest = 4 * BLOCK_TOKENS * exp(-60.0 / RETURN_S)
    assert prompts.hit(blocks(8, 9), 60.0) == (0.0, pytest.approx(oldest))
    begun_alike = 3 * BLOCK_TOKENS * exp(-30.0 / RETURN_S)
    assert prompts.hit(blocks(2, 9), 60.0) == (0.5, pytest.approx(begun_alike))
    assert prompts.hit(blocks(2, 70, 80, 90, 100), 60.0) == (0.8, 0.0)  # it goes on from there


def test_the_worth_of_a_cache_is_what_would_be_read_again() -> None:
    prompts = Prompts()
    assert prompts.worth(0.0) == 0.0
    for number in range(FIRST_DEPTH + 1):
        prompts.put(blocks(number, 7), 0.0)
    assert prompts.worth(0.0) == FIRST_DEPTH * 2 * BLOCK_TOKENS
    assert prompts.worth(RETURN_S) == pytest.approx(FIRST_DEPTH * 2 * BLOCK_TOKENS / e)


def test_a_conversation_that_goes_on_takes_one_place() -> None:
    prompts = Prompts()
    for length in range(1, 40):
        prompts.put(tuple(range(length)), 0.0)
    prompts.put(blocks(77), 0.0)
    assert prompts.longest(tuple(range(39)), 2) == (39, 1)


def test_a_prompt_that_another_was_written_over_is_cached_no_more() -> None:
    prompts = Prompts()
    for number in range(FIRST_DEPTH):
        prompts.put(blocks(number, 70, 80, 90), 0.0)
    prompts.put(blocks(2, 70, 81, 91), 1.0)
    assert prompts.hit(blocks(2, 70, 80, 90), 1.0)[0] == 0.5
    for number in (0, 1, 3):
        assert prompts.hit(blocks(number, 70, 80, 90), 1.0)[0] == 1.0


def test_old_prompts_are_forgotten() -> None:
    prompts = Prompts()
    for number in range(KEPT + 1):
        prompts.put(blocks(number + 100), 0.0)
    assert prompts.longest(blocks(100), 99) == (0, 0)
    assert prompts.longest(blocks(101), 99) == (1, KEPT - 1)


def test_the_cache_is_taken_to_be_as_deep_as_hits_prove() -> None:
    prompts = Prompts()
    prompts.learn((1.0, FIRST_DEPTH + 3), 0.9)
    assert prompts.depth == FIRST_DEPTH + 4
    prompts.learn((1.0, 2), 0.0)
    assert prompts.depth == 2
    prompts.learn((0.1, 1), 0.0)
    assert prompts.depth == 2
