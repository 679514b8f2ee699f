"""Who is next."""

import random

from hypothesis import given
from hypothesis import strategies as st

from data_plane.admission.queue import AGEING_S, Queue, Waiting
from data_plane.admission.shares import Shares


def waiting(item, principal="one", *, lane="m", priority=0, tokens=100.0, at=0.0):
    return Waiting(
        item, lane=lane, principal=principal, priority=priority, tokens=tokens, arrived_at=at
    )


def joined(queue, *several):
    for each in several:
        queue.join(each)
    return queue


def order(queue, now=1.0, lane="m", most=100):
    return [each.item for each in queue.first(lane, most, now)]


def test_one_principal_is_served_in_the_order_of_arrival() -> None:
    queue = joined(Queue(Shares()), waiting("a"), waiting("b"), waiting("c"))
    assert order(queue) == ["a", "b", "c"]
    assert order(queue, most=2) == ["a", "b"]


def test_whoever_has_had_least_goes_first() -> None:
    shares = Shares()
    shares.charge("hog", 1_000.0)
    queue = joined(Queue(shares), waiting("hog's", "hog"), waiting("light's", "light"))
    shares.charge("hog", 1.0)  # being lifted to it, both have had the same until here
    assert order(queue) == ["light's", "hog's"]


def test_equals_take_turns_by_what_their_requests_cost() -> None:
    queue = joined(
        Queue(Shares()),
        *[waiting(f"long {n}", "long", tokens=300.0) for n in range(3)],
        *[waiting(f"short {n}", "short", tokens=100.0) for n in range(3)],
    )
    assert order(queue) == ["long 0", "short 0", "short 1", "short 2", "long 1", "long 2"]


def test_the_higher_priority_goes_first_until_the_lower_has_waited() -> None:
    low = waiting("low", "low", at=0.0)
    high = waiting("high", "high", priority=1, at=AGEING_S)
    queue = joined(Queue(Shares()), low, high)
    assert order(queue, now=AGEING_S - 1.0) == ["high", "low"]
    queue._shares.charge("high", 1.0)
    assert order(queue, now=AGEING_S) == ["low", "high"]  # one band: now their shares decide


def test_models_do_not_stand_in_each_others_way() -> None:
    queue = joined(Queue(Shares()), waiting("a", lane="m"), waiting("b", lane="n"))
    assert sorted(queue.lanes) == ["m", "n"]
    assert order(queue, lane="n") == ["b"]


def test_whoever_leaves_frees_its_place_once() -> None:
    queue = Queue(Shares())
    first, second = waiting("a"), waiting("b")
    joined(queue, first, second)
    assert queue.leave(first)
    assert not queue.leave(first)
    assert (queue.size, queue.of("one"), order(queue)) == (1, 1, ["b"])
    assert queue.leave(second)
    assert (queue.size, queue.of("one"), queue.lanes) == (0, 0, [])
    assert order(queue) == []


def test_the_position_is_the_number_of_those_before() -> None:
    queue = Queue(Shares())
    several = [waiting(number) for number in range(5)]
    joined(queue, *several)
    assert [queue.ahead_of(each, 1.0) for each in several] == [0, 1, 2, 3, 4]


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(min_value=-1, max_value=1),
        st.floats(min_value=1.0, max_value=1_000.0),
    ),
    min_size=1,
    max_size=40,
)


@given(REQUESTS, st.floats(min_value=0.0, max_value=600.0))
def test_everybody_is_in_the_order_once(requests, now) -> None:
    queue = joined(
        Queue(Shares()),
        *[
            waiting(number, principal, priority=priority, tokens=tokens)
            for number, (principal, priority, tokens) in enumerate(requests)
        ],
    )
    assert sorted(order(queue, now)) == list(range(len(requests)))


def test_two_that_always_wait_get_as_much_up_to_one_request() -> None:
    """The bound of virtual token counting: the difference is never more than the largest request,
    whatever the requests are like."""
    dice = random.Random(3)  # noqa: S311 - the same in every run
    shares = Shares()
    queue: Queue[str] = Queue(shares)
    had = {"a": 0.0, "b": 0.0}
    largest = {"a": 2_000.0, "b": 50.0}

    def another(principal):
        return waiting(principal, principal, tokens=dice.uniform(1.0, largest[principal]))

    joined(queue, *[another(principal) for principal in "aabb"])
    for _ in range(2_000):
        [next_one] = queue.first("m", 1, 0.0)
        queue.join(another(next_one.principal))
        queue.leave(next_one)
        shares.served(next_one.principal)
        shares.charge(next_one.principal, next_one.tokens)
        had[next_one.principal] += next_one.tokens
        assert abs(had["a"] - had["b"]) <= max(largest.values())
