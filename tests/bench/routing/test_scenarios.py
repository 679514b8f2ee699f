"""The requests are the same in every run, and what the two benchmarks read of them agrees."""

import pytest
from routing.scenarios import blocks_of, holders_of, requests_of, span_of, text_of
from routing.suite import BY_NAME, SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_seed_gives_the_same_requests_whoever_asks(scenario) -> None:
    made = requests_of(scenario, 3, 60)
    assert made == requests_of(scenario, 3, 60)
    assert made != requests_of(scenario, 4, 60)
    assert [request.number for request in made] == list(range(len(made)))
    assert all(request.after is None or request.after < request.number for request in made)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_model_fits_somewhere(scenario) -> None:
    assert all(holders_of(scenario, model) for model in scenario.models)


def test_more_load_is_the_same_requests_in_less_time() -> None:
    light, heavy = (requests_of(BY_NAME[name], 1, 400) for name in ("S1", "S2"))
    assert span_of(light) / span_of(heavy) == pytest.approx(0.8 / 0.55, rel=0.3)


def test_a_turn_goes_on_from_the_prompt_and_the_answer_before_it() -> None:
    made = requests_of(BY_NAME["S1"], 1, 200)
    later = next(request for request in made if request.after is not None)
    before = made[later.after]
    assert later.prompt[: len(before.prompt) + 1] == (*before.prompt, before.answer)
    assert later.session == before.session


def test_text_and_blocks_agree_as_far_as_the_pieces_do() -> None:
    one, other = ((1, 100), (2, 60)), ((1, 100), (3, 60), (4, 10))
    assert len(text_of(one)) == 4 * 160
    assert text_of(one)[:400] == text_of(other)[:400]
    assert text_of(one)[400:] != text_of(other)[400:640]
    assert blocks_of(one)[0] == blocks_of(other)[0]
    assert blocks_of(one)[1] != blocks_of(other)[1]
    assert len(blocks_of(one)) == 2
