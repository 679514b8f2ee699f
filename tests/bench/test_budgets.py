"""Budgets: kept, broken, or not judged; and the file itself."""

import dataclasses
from pathlib import Path

import pytest
from budgets import CHOOSING, Budget, Standing, judge, load, per_doubling
from figures import Figures
from peers import STARTERS

FILE = Path(__file__).parent / "budgets.toml"
NGINX = Figures("nginx", "/api/chat", cpu_per_request_us=20.0)
OURS = Figures("aivonx", "/api/chat", cpu_per_request_us=60.0, ttft_added_p50_us=400.0)
PER_REQUEST = Budget("a request", "cpu_per_request_us", 3.5, "because", ("nginx",))
TTFT = Budget("first token", "ttft_added_p50_us", 500, "because")


def standings(budget: Budget, *columns: Figures, choosing: dict[int, float] | None = None):
    named = {column.name: column for column in columns}
    return [verdict.standing for verdict in judge([budget], named, "aivonx", choosing or {})]


@pytest.mark.parametrize(
    ("cost", "standing"), [(60.0, Standing.KEPT), (70.0, Standing.KEPT), (70.1, Standing.BROKEN)]
)
def test_a_ratio_up_to_the_budget_is_kept(cost, standing) -> None:
    ours = dataclasses.replace(OURS, cpu_per_request_us=cost)
    assert standings(PER_REQUEST, NGINX, ours) == [standing]


def test_a_budget_without_peers_is_absolute() -> None:
    assert standings(TTFT, OURS) == [Standing.KEPT]
    late = dataclasses.replace(OURS, ttft_added_p50_us=501.0)
    assert standings(TTFT, late) == [Standing.BROKEN]


def test_each_peer_is_judged_by_itself_and_an_absent_one_is_not() -> None:
    budget = dataclasses.replace(PER_REQUEST, relative_to=("smg", "caddy", "nginx"), at_most=1.0)
    smg = Figures("smg", "/v1/chat/completions", cpu_per_request_us=100.0)
    found = standings(budget, NGINX, smg, OURS)
    assert found == [Standing.KEPT, Standing.NOT_JUDGED, Standing.BROKEN]


def test_what_was_not_measured_is_not_judged() -> None:
    unmeasured = dataclasses.replace(OURS, cpu_per_request_us=None, ttft_added_p50_us=None)
    assert standings(PER_REQUEST, NGINX, unmeasured) == [Standing.NOT_JUDGED]
    assert standings(TTFT, unmeasured) == [Standing.NOT_JUDGED]
    assert standings(TTFT) == [Standing.NOT_JUDGED]


def test_a_broken_budget_is_named_with_its_figure_and_its_stretch() -> None:
    budget = dataclasses.replace(PER_REQUEST, at_most=2.5, stretch=2.0)
    columns = {"nginx": NGINX, "aivonx": OURS}
    [verdict] = judge([budget], columns, "aivonx", {})
    assert str(verdict) == "BROKEN      a request: 3.00x nginx (at most 2.5, stretch 2)"


def test_a_logarithmic_cost_grows_the_same_per_doubling_however_far_it_is_followed() -> None:
    assert per_doubling({2: 100.0, 64: 105.0}) == pytest.approx(1.0)
    assert per_doubling({2: 100.0, 64: 105.0, 1024: 109.0}) == pytest.approx(1.0)


def test_one_fleet_says_nothing_about_growth() -> None:
    assert per_doubling({50: 100.0}) is None


def test_choosing_is_judged_by_nginx_request() -> None:
    budget = Budget("choosing", CHOOSING, 0.1, "because", ("nginx",), "cpu_per_request_us")
    scan = {2: 60.0, 1000: 160.0}
    heap = {2: 60.0, 1000: 66.0}
    assert standings(budget, NGINX, OURS, choosing=scan) == [Standing.BROKEN]
    assert standings(budget, NGINX, OURS, choosing=heap) == [Standing.KEPT]
    assert standings(budget, NGINX, OURS) == [Standing.NOT_JUDGED]


def test_every_budget_of_the_file_can_be_judged() -> None:
    budgets = load(FILE)
    assert len({budget.name for budget in budgets}) == len(budgets)
    for budget in budgets:
        assert budget.reason
        assert set(budget.relative_to) <= set(STARTERS)
        for measure in {budget.measure, budget.relative_measure} - {CHOOSING, ""}:
            OURS.value(measure)
