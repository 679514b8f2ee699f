"""The simulated node keeps Ollama's rules."""

import pytest
from routing.node import MAX_PENDING, SimNode
from routing.runner import Job
from routing.scenarios import GB, REFERENCE_BYTES, Preset, SimModel

FAST = Preset("fast", 1_000, 100, 1 * GB, 12.5 * GB, 2, 0.5)
A, B, C = (SimModel(name, REFERENCE_BYTES) for name in "abc")
LOAD_S = 1.0 + REFERENCE_BYTES / GB
NO_KV = 64  # a context that hardly takes memory, so that two models fit


def job(number, model="a", tokens=512, output=101, **fields):
    fields = {"num_ctx": NO_KV, **fields}
    return Job(number, model, tokens, output=output, **fields)


def node_with(*jobs):
    node = SimNode(FAST, (A, B, C))
    for each in jobs:
        assert node.submit(each, 0.0)
    return node


def records(node, until=1_000.0):
    return {r.job.number: r.record for r in node.advance(until) if r.record is not None}


def test_a_cold_request_loads_reads_and_writes() -> None:
    record = records(node_with(job(1)))[1]
    assert record.load_s == pytest.approx(LOAD_S)
    assert record.prompt_s == pytest.approx(0.512)
    assert record.eval_s == pytest.approx(1.0)
    assert record.total_s == pytest.approx(LOAD_S + 1.512)


def test_the_wait_for_a_slot_stands_in_no_field_of_the_record() -> None:
    found = records(node_with(job(1), job(2), job(3)))
    gaps = {n: r.total_s - r.load_s - r.prompt_s - r.eval_s for n, r in found.items()}
    assert gaps[1] == gaps[2] == pytest.approx(0.0)
    assert gaps[3] == pytest.approx(found[1].prompt_s + found[1].eval_s)


def test_a_token_of_each_answer_is_written_between_two_pieces_of_a_prompt() -> None:
    node = node_with(job(1, output=1_001))
    node.advance(LOAD_S + 0.512)
    node.submit(job(2, tokens=5_120, output=2), LOAD_S + 0.512)
    record = records(node)[2]
    assert record.prompt_s == pytest.approx(10 * (0.512 + 0.01))


def test_answers_at_once_slow_each_other_down_as_the_preset_says() -> None:
    found = records(node_with(job(1, tokens=1, output=1_001), job(2, tokens=1, output=1_001)))
    assert found[1].eval_s == pytest.approx(1_000 * 0.015, rel=0.01)


def test_two_runners_at_work_share_the_device() -> None:
    node = node_with(job(1, output=2), job(2, "b", output=2))
    node.advance(100.0)
    node.submit(job(3, tokens=1, output=1_001), 100.0)
    node.submit(job(4, "b", tokens=1, output=1_001), 100.0)
    assert records(node)[3].eval_s == pytest.approx(20.0, rel=0.01)


def test_one_load_at_a_time_in_the_order_of_the_requests() -> None:
    found = records(node_with(job(1), job(2, "b")))
    assert found[2].load_s == pytest.approx(2 * LOAD_S)


def test_the_idle_one_leaves_and_of_two_idle_the_first_by_keep_alive_then_by_name() -> None:
    node = node_with(job(1, "b"), job(2, "a"))
    node.advance(50.0)
    node.submit(job(3, "c"), 50.0)
    assert set(node.runners) == {"b", "c"}
    other = node_with(job(1, "b", keep_alive_s=100.0), job(2, "a"))
    other.advance(50.0)
    other.submit(job(3, "c"), 50.0)
    assert set(other.runners) == {"a", "c"}


def test_a_busy_victim_ends_its_answers_and_takes_new_ones_meanwhile() -> None:
    node = node_with(job(1, "a", output=1_001), job(2, "b", output=2_001))
    node.advance(2 * LOAD_S + 0.6)
    node.submit(job(3, "c"), 13.0)
    node.submit(job(4, "a", output=1_001), 13.5)
    found = records(node)
    assert found[4].load_s == pytest.approx(0.0)
    assert 13.0 + found[3].load_s == pytest.approx(13.5 + found[4].total_s + LOAD_S)


def test_another_context_is_a_reload() -> None:
    node = node_with(job(1))
    node.advance(50.0)
    node.submit(job(2, num_ctx=128), 50.0)
    assert records(node)[2].load_s == pytest.approx(LOAD_S)
    assert node.loads == 2


def test_a_model_that_is_not_asked_for_leaves_after_its_keep_alive() -> None:
    node = node_with(job(1))
    node.advance(LOAD_S + 1.512 + 299.0)
    assert set(node.runners) == {"a"}
    node.advance(LOAD_S + 1.512 + 301.0)
    assert not node.runners
    assert node.next_at() == float("inf")


def test_only_requests_for_models_that_are_not_in_memory_are_ever_refused() -> None:
    node = node_with(job(0))
    assert all(node.submit(job(1 + n, "b"), 1.0) for n in range(MAX_PENDING))
    assert not node.submit(job(600, "b"), 1.0)
    assert node.submit(job(601, "a"), 1.0)


def test_a_slot_goes_on_from_the_longest_common_beginning_else_the_oldest_is_used() -> None:
    prompts = {1: (1, 2, 3, 4), 2: (9, 8, 7, 6), 3: (1, 2, 3, 5), 4: (30, 31, 32, 33)}
    node = SimNode(FAST, (A,))
    found = {}
    for number, blocks in prompts.items():
        node.submit(job(number, tokens=256, blocks=blocks, output=2), 20.0 * number)
        found |= records(node, 20.0 * number + 19)
    assert {n: r.cached_tokens for n, r in found.items()} == {1: 0, 2: 0, 3: 192, 4: 0}
    node.submit(job(5, tokens=256, blocks=(1, 2, 3, 5), output=2), 100.0)
    assert records(node)[5].cached_tokens == 255  # the last token is always read


def test_who_leaves_frees_its_slot_at_once() -> None:
    first, second, third = job(1, output=10_001), job(2, output=10_001), job(3)
    node = node_with(first, second, third)
    node.advance(20.0)
    assert third.slot is None
    node.abort(first, 20.0)
    assert third.began_at == pytest.approx(20.0)
    assert 0 < node.written(second, 20.0) < 10_001


def test_a_node_that_dies_loses_what_it_had() -> None:
    node = node_with(job(1), job(2, "b"))
    assert [lost.number for lost in node.die(2.0)] == [2, 1]
    assert not records(node)
