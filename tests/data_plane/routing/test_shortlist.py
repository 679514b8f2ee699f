"""Of many holders, those that are worth weighing."""

from fakes.snapshots import make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.pools import Pools
from data_plane.routing.shortlist import WEIGH_ALL, WEIGHED, Shortlists

MANY = Pools.build(make_snapshot({f"n{number}": ["llama3"] for number in range(40)})).active


def weighed_all():
    shortlists = Shortlists()
    for number, node in enumerate(MANY):
        shortlists.weighed(node.id, "m", float(number))
    return shortlists


def test_of_a_few_all_are_weighed() -> None:
    few = list(MANY[:WEIGH_ALL])
    assert Shortlists().pick(few, "m", ()) == few


@given(costs=st.lists(st.floats(0.0, 9.0), min_size=40, max_size=40))
def test_the_cheapest_is_always_among_them(costs) -> None:
    shortlists = Shortlists()
    for node, cost in zip(MANY, costs, strict=True):
        shortlists.weighed(node.id, "m", cost)
    few = shortlists.pick(list(MANY), "m", ())
    assert MANY[costs.index(min(costs))] in few
    assert len(few) <= WEIGHED + 1


def test_whoever_something_happened_at_is_weighed_anew() -> None:
    shortlists = weighed_all()
    shortlists.changed("n39")
    assert MANY[39] in shortlists.pick(list(MANY), "m", ())


def test_whoever_has_the_beginning_of_the_prompt_is_weighed() -> None:
    shortlists = weighed_all()
    shortlists.sent("n38", "m", (1, 2, 3, 4, 5))
    shortlists.weighed("n38", "m", 99.0)
    assert MANY[38] in shortlists.pick(list(MANY), "m", (1, 2, 3, 9))
    assert MANY[38] not in shortlists.pick(list(MANY), "m", (7, 8, 9))


def test_everybody_has_a_turn() -> None:
    shortlists = weighed_all()
    seen = set()
    for _ in range(len(MANY)):
        seen.update(node.id for node in shortlists.pick(list(MANY), "m", ()))
    assert len(seen) == len(MANY)
