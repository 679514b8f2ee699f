"""The bars and how figures are held against them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from routing import bars, trials
from routing.metrics import Figures, interval, ratio
from routing.rules import PEERS
from routing.suite import BY_NAME

LIMITS = bars.load(Path(bars.__file__).with_name("bars.toml"))
PLAIN = Figures(**dict.fromkeys(Figures.__dataclass_fields__, 1.0))


def verdicts(limits, scenario, ours, **theirs):
    by_rule = {name: [replace(PLAIN, **theirs)] * 2 for name in PEERS}
    return list(bars.judge(limits, BY_NAME[scenario], {**by_rule, bars.JUDGED: ours}))


def bar(**more):
    usual = {"name": "x", "kind": "uneven", "measure": "ttft_mean", "against": "best", "reason": ""}
    return bars.Bar(**{**usual, "at_most": 0.6, **more})


def test_every_bar_names_what_there_is() -> None:
    kinds = {scenario.bar for scenario in BY_NAME.values()}
    for each in LIMITS:
        assert each.measure in Figures.__dataclass_fields__
        assert each.against in {*PEERS, bars.BEST}
        assert each.kind in kinds
        assert (each.at_most is None) != (each.at_least is None)
        assert all(BY_NAME[name].held_out for name in each.known)


@pytest.mark.parametrize(
    ("mine", "known", "said"),
    [
        (0.6, {}, "kept"),
        (0.7, {}, "BROKEN"),
        (0.7, {"H1": 0.8}, "missed, as known"),
        (0.9, {"H1": 0.8}, "BROKEN"),
    ],
)
def test_a_ratio_is_kept_known_or_broken(mine, known, said) -> None:
    (verdict,) = verdicts([bar(known=known)], "H1", [replace(PLAIN, ttft_mean=mine)] * 2)
    assert str(verdict).startswith(said)


def test_more_is_better_where_a_bar_says_at_least() -> None:
    more = bar(measure="goodput", at_most=None, at_least=0.95)
    (verdict,) = verdicts([more], "H1", [replace(PLAIN, goodput=0.9)] * 2)
    assert not verdict.is_kept
    (verdict,) = verdicts([more], "H1", [replace(PLAIN, goodput=1.2)] * 2)
    assert verdict.is_kept


def test_only_held_out_scenarios_of_the_kind_are_judged_and_only_where_there_is_something() -> None:
    assert verdicts([bar()], "S1", [PLAIN] * 2) == []
    assert verdicts([bar()], "H12", [PLAIN] * 2) == []
    assert verdicts([bar(measure="loads", fewest=2.0)], "H1", [PLAIN] * 2) == []


def test_a_kind_is_judged_as_a_whole_once_all_of_it_was_tried() -> None:
    kind = [name for name, each in BY_NAME.items() if each.held_out and each.bar == "even"]
    found = {
        name: {
            **{peer: [replace(PLAIN, ttft_mean=4.0)] * 2 for peer in PEERS},
            bars.JUDGED: [replace(PLAIN, ttft_mean=mine)] * 2,
        }
        for name, mine in zip(kind, (1.0, 4.0), strict=True)
    }
    limit = bar(kind="even", at_most=0.5)
    (verdict,) = bars.judge_kinds([limit], found)
    assert (verdict.scenario, verdict.is_kept) == (bars.ALL, True)
    assert verdict.ratio.mean == pytest.approx(0.5)
    (verdict,) = bars.judge_kinds([replace(limit, at_most=0.49)], found)
    assert str(verdict).startswith("BROKEN")
    del found[kind[0]]
    assert list(bars.judge_kinds([limit], found)) == []


def test_seeds_are_compared_in_pairs() -> None:
    mine = [replace(PLAIN, ttft_mean=value) for value in (1.0, 10.0)]
    other = [replace(PLAIN, ttft_mean=value) for value in (2.0, 20.0)]
    found = ratio(mine, other, "ttft_mean")
    assert (found.mean, found.low, found.high) == (0.5, 0.5, 0.5)
    assert interval([1.0] * 5) == (1.0, 1.0)


def test_a_run_prints_its_tables_and_keeps_its_figures(monkeypatch, capsys, tmp_path) -> None:
    path = tmp_path / "result.json"
    words = ["--scenarios", "S6", "--seeds", "2", "--count", "60", "--output", str(path)]
    monkeypatch.setattr(sys, "argv", ["trials", *words])
    assert trials.main() == 0  # S6 is not held out: nothing is judged
    said = capsys.readouterr().out
    kept = json.loads(path.read_text(encoding="utf-8"))
    for rule in (*PEERS, bars.JUDGED):
        assert rule in said
        assert kept["scenarios"]["S6"][rule]["ttft_mean"] > 0.0
