"""The order of a model's holders, beside a look at all of them."""

import random
from collections import Counter

import msgspec
import pytest
from fakes.snapshots import make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing import ranking
from data_plane.routing.pools import Pools
from data_plane.routing.ranking import Journal, Ranking
from shared.model_names import canonical_name

LLAMA3 = canonical_name("llama3")

nodes = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([1.0, 2.0, float("inf")])),
    min_size=1,
    max_size=7,
)
changes = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 4), st.sampled_from([None, 0.1, 0.5])), max_size=60
)


def holders(kinds):
    snapshot = make_snapshot({f"node-{number}": ["llama3"] for number in range(len(kinds))})
    nodes = tuple(
        msgspec.structs.replace(
            node, weight=weight, max_parallel=None if most == float("inf") else int(most)
        )
        for node, (weight, most) in zip(snapshot.nodes, kinds, strict=True)
    )
    return Pools.build(msgspec.structs.replace(snapshot, nodes=nodes)).models[LLAMA3].active


def lowest(all_holders, loads, shares):
    """By looking at every one of them."""

    def score(node):
        count = loads.get(node.id, 0)
        return count >= node.max_parallel, (count + 1) / node.weight / shares.get(node.id, 1.0)

    least = min(map(score, all_holders))
    return {node.id for node in all_holders if score(node) == least}


@given(kinds=nodes, steps=changes, seed=st.integers(0, 1_000), gap=st.integers(1, 5))
def test_it_finds_what_a_look_at_all_finds(kinds, steps, seed, gap) -> None:
    everyone, loads, journal, shares = holders(kinds), {}, Journal(), {}
    dice = random.Random(seed).random  # noqa: S311 - the same in every run
    one, other = (Ranking(everyone, loads, journal, shares=shares) for _ in range(2))
    for number, (which, count, share) in enumerate(steps):
        node = everyone[which % len(everyone)]
        loads[node.id] = count
        if share is None:
            shares.pop(node.id, None)
        else:
            shares[node.id] = share
        journal.note(node.id)
        assert one.lowest(dice).id in lowest(everyone, loads, shares)
        if number % gap == 0:
            assert other.lowest(dice).id in lowest(everyone, loads, shares)


def test_equals_share_evenly() -> None:
    everyone, loads, journal = holders([(1.0, 9.0)] * 5), {}, Journal()
    found = Ranking(everyone, loads, journal)
    loads[everyone[2].id] = 1
    journal.note(everyone[2].id)
    dice = random.Random(3).random  # noqa: S311 - the same in every run
    shares = Counter(found.lowest(dice).id for _ in range(4_000))
    assert set(shares) == {node.id for node in everyone} - {everyone[2].id}
    assert all(900 < share < 1_100 for share in shares.values())


def test_changes_of_others_are_none_of_its_concern() -> None:
    everyone, loads, journal = holders([(1.0, 9.0)] * 3), {}, Journal()
    found = Ranking(everyone[:1], loads, journal)
    loads[everyone[1].id] = 3
    journal.note(everyone[1].id)
    assert found.lowest(lambda: 0.0) is everyone[0]


@pytest.mark.interpreted
def test_a_journal_that_began_anew_is_not_mistaken_for_the_old_one(monkeypatch) -> None:
    monkeypatch.setattr(ranking, "MAX_JOURNAL", 4)
    everyone, loads, journal = holders([(1.0, 9.0)] * 9), {}, Journal()
    found = Ranking(everyone, loads, journal)
    for turn in range(50):
        node = everyone[turn % 9]
        loads[node.id] = loads.get(node.id, 0) + 1
        journal.note(node.id)
        if turn % 7 == 0:
            assert found.lowest(lambda: 0.0).id in lowest(everyone, loads, {})
    assert len(journal.entries) <= 4


def test_full_nodes_come_last() -> None:
    everyone, loads, journal = holders([(8.0, 1.0), (0.5, 9.0)]), {}, Journal()
    found = Ranking(everyone, loads, journal)
    assert found.lowest(lambda: 0.0) is everyone[0]
    loads[everyone[0].id] = 1
    journal.note(everyone[0].id)
    assert found.lowest(lambda: 0.0) is everyone[1]
    assert found.is_full(everyone[0])
    assert not found.is_full(everyone[1])
