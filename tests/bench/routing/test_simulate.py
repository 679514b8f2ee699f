"""Small clusters in fast motion."""

from dataclasses import replace

import pytest
from routing.ours import OURS, Predicted
from routing.rules import PEERS, HeldLeast, LeastConnections, Rule
from routing.simulate import asked_of, run
from routing.suite import BY_NAME

SMALL = 80


@pytest.mark.parametrize("name", [*PEERS, *OURS])
def test_every_rule_answers_every_request_the_same_in_each_run(name) -> None:
    scenario = BY_NAME["S3"]
    asked, rule = asked_of(scenario, 1, SMALL), {**PEERS, **OURS}[name]
    first, second = (run(scenario, asked, rule, 1) for _ in range(2))
    assert sorted(answer.asked.number for answer in first.answers) == list(range(SMALL))
    assert all(answer.is_whole for answer in first.answers)
    assert [a.ended_at for a in first.answers] == [a.ended_at for a in second.answers]


def test_a_later_turn_comes_after_the_answer_before_it() -> None:
    scenario = BY_NAME["S1"]
    answers = {
        a.asked.number: a
        for a in run(scenario, asked_of(scenario, 1, SMALL), LeastConnections, 1).answers
    }
    later = [a for a in answers.values() if a.asked.request.after is not None]
    assert later
    assert all(a.asked_at > answers[a.asked.request.after].ended_at for a in later)


def test_what_is_held_waits_for_a_slot_here_and_not_at_the_node() -> None:
    scenario = BY_NAME["H14"]

    class Watched(HeldLeast):
        def sent(self, asked, node, now) -> None:
            super().sent(asked, node, now)
            assert self.of_model[asked.request.model, node] <= 4

    trial = run(scenario, asked_of(scenario, 1, 300), Watched, 1)
    assert max(answer.ttft_s for answer in trial.answers) > 5.0


def test_a_dead_node_loses_its_answers_and_gets_no_more() -> None:
    scenario = replace(BY_NAME["H11"], load=1.0)
    trial = run(scenario, asked_of(scenario, 1, 300), LeastConnections, 1)
    broken = [answer for answer in trial.answers if not answer.is_whole]
    assert broken
    assert {answer.node for answer in broken} == {"3090-0"}
    at = broken[0].ended_at
    back_at = trial.span_s * 0.6
    assert not [a for a in trial.answers if a.node == "3090-0" and at < a.asked_at < back_at]


def test_knowing_what_is_in_memory_saves_most_loads() -> None:
    scenario = BY_NAME["S3"]
    asked = asked_of(scenario, 1, 300)
    ours, other = (run(scenario, asked, rule, 1) for rule in (Predicted, LeastConnections))
    assert ours.loads < 0.5 * other.loads


def test_a_rule_must_say_how_it_picks() -> None:
    with pytest.raises(TypeError, match="pick"):
        run(BY_NAME["S1"], asked_of(BY_NAME["S1"], 1, 5), Rule, 1)
