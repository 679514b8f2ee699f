"""What the queue promises, whatever arrives: held against any course of events."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from data_plane.admission.queue import AGEING_S, Queue, Waiting
from data_plane.admission.shares import ANSWER_WEIGHT, Shares

NAMES = ("hog", "alice", "bob")
MOST_PROMPT, MOST_ANSWER = 4_000, 1_000
MOST_COST = MOST_PROMPT + ANSWER_WEIGHT * MOST_ANSWER

joins = st.tuples(
    st.just("join"),
    st.sampled_from(NAMES),
    st.sampled_from(("small", "large")),
    st.integers(-2, 2),
)
leaves = st.tuples(st.just("leave"), st.integers(0, 50))
costs = st.tuples(st.integers(1, MOST_PROMPT), st.integers(0, MOST_ANSWER))


def waiting(principal="alice", *, lane="small", priority=0, tokens=100.0, at=0.0):
    return Waiting(
        principal, lane=lane, principal=principal, priority=priority, tokens=tokens, arrived_at=at
    )


@given(st.lists(st.one_of(joins, leaves), max_size=80))
def test_whoever_waits_is_in_the_order_once_and_nobody_else_is(events) -> None:
    queue, here = Queue(Shares()), []
    for now, (what, *more) in enumerate(events):
        if what == "join":
            principal, lane, priority = more
            here.append(waiting(principal, lane=lane, priority=priority, at=float(now)))
            queue.join(here[-1])
        elif here:
            gone = here.pop(more[0] % len(here))
            assert queue.leave(gone)
            assert not queue.leave(gone)
    assert queue.size == len(here)
    now = len(events) + 90.0
    for lane in ("small", "large"):
        expected = [each for each in here if each.lane == lane]
        order = queue.first(lane, len(events) + 1, now)
        assert sorted(map(id, order)) == sorted(map(id, expected))
        assert queue.is_waited_for(lane) is bool(expected)
        bands = [each.band(now) for each in order]
        assert bands == sorted(bands, reverse=True)
        assert [queue.ahead_of(each, now) for each in order] == list(range(len(order)))
    for name in NAMES:
        assert queue.of(name) == sum(each.principal == name for each in here)


@given(st.lists(costs, min_size=1, max_size=120), st.integers(1, 4))
def test_of_those_that_always_wait_none_gets_far_ahead(requests, slots) -> None:
    """By no more than what the slots can hold at once, however long and however unequal."""
    shares = Shares()
    queue = Queue(shares)
    for name in NAMES:
        for _ in requests:
            queue.join(waiting(name))
    at_work: deque[tuple[str, float]] = deque()
    had = dict.fromkeys(NAMES, 0.0)
    for prompt, answer in requests:
        (head,) = queue.first("small", 1, 0.0)
        queue.leave(head)
        shares.served(head.principal)
        shares.charge(head.principal, prompt)
        had[head.principal] += prompt
        at_work.append((head.principal, ANSWER_WEIGHT * answer))
        if len(at_work) == slots:
            name, tokens = at_work.popleft()
            shares.charge(name, tokens)
            had[name] += tokens
        assert max(had.values()) - min(had.values()) <= slots * MOST_COST


@given(st.integers(1, 10**6), st.integers(2, 40))
def test_nobody_saves_up_by_staying_away(had_by_others, count) -> None:
    shares = Shares()
    queue = Queue(shares)
    shares.charge("bob", had_by_others)
    for name in ("bob", "alice"):
        for _ in range(count):
            queue.join(waiting(name))
    order = [each.principal for each in queue.first("small", 2 * count, 0.0)]
    for place in range(2, 2 * count, 2):
        assert abs(order[:place].count("alice") - order[:place].count("bob")) <= 1


@given(st.integers(0, 10**6))
def test_a_hog_at_one_model_does_not_set_others_back_at_another(had_by_hog) -> None:
    """Whoever is new comes in beside the one that has had least of those that wait."""
    shares = Shares()
    queue = Queue(shares)
    queue.join(waiting("alice"))
    head = waiting("hog", lane="large")
    queue.join(head)
    shares.charge("hog", had_by_hog)
    queue.leave(head)
    shares.served("hog")
    queue.join(waiting("bob"))
    assert shares.had("bob") == shares.had("alice")


@given(st.integers(1, 4), st.integers(1, 5))
def test_the_least_urgent_gets_its_turn_after_its_minutes(urgency, burst) -> None:
    """One is served each second, and as many more urgent ones arrive as `burst` says."""
    queue = Queue(Shares())
    lowly = waiting("bob")
    queue.join(lowly)
    queue.join(waiting("hog", priority=urgency))
    now = 0.0
    while (head := queue.first("small", 1, now)[0]) is not lowly:
        queue.leave(head)
        for _ in range(burst):
            queue.join(waiting("hog", priority=urgency, at=now))
        now += 1.0
        assert now <= (burst + 1) * (urgency + 1) * AGEING_S


def test_a_hog_with_a_long_queue_does_not_delay_who_asks_once() -> None:
    shares = Shares()
    queue = Queue(shares)
    for _ in range(500):
        queue.join(waiting("hog"))
    for _ in range(20):
        (head,) = queue.first("small", 1, 0.0)
        queue.leave(head)
        shares.served("hog")
        shares.charge("hog", 2_000.0)
    alice = waiting("alice")
    queue.join(alice)
    assert queue.ahead_of(alice, 0.0) <= 1


def test_a_backlog_of_minutes_does_not_age_as_long_as_it_is_served() -> None:
    queue = Queue(Shares())
    for _ in range(100):
        queue.join(waiting("hog", at=0.0))
    now = 0.0
    for _ in range(40):  # an overload: one each ten seconds
        now += 10.0
        (head,) = queue.first("small", 1, now)
        queue.served(head, now)
        queue.leave(head)
    alice = waiting("alice", at=now)
    queue.join(alice)
    assert queue.ahead_of(alice, now) <= 1
    assert queue.first("small", 1, now + AGEING_S)[0].principal == "hog"  # it was there before


def test_turns_of_those_that_wait_no_more_are_forgotten() -> None:
    queue = Queue(Shares())
    late, early = waiting("bob", at=100.0), waiting("bob", at=0.0)
    queue.join(early)
    queue.served(early, 200.0)
    queue.leave(early)
    queue.join(waiting("alice", at=150.0))
    queue.join(late)
    assert queue.first("small", 1, 100.0 + AGEING_S)[0] is late
