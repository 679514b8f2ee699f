"""What it would cost to send a request to a node."""

import msgspec
import pytest
from fakes.snapshots import make_loaded, make_snapshot

from data_plane.routing.events import Arrival
from data_plane.routing.learning import Rates
from data_plane.routing.place import Flight
from data_plane.routing.pools import Pools
from data_plane.routing.predict import ANSWER_WEIGHT, Demand, lacks, weigh
from data_plane.routing.prefix import BLOCK_TOKENS, FIRST_DEPTH
from data_plane.routing.shadow import Shadow

NODE = Pools.build(make_snapshot({"a": ["m"]})).nodes["a"]
RATES = Rates(
    prefill=1_000.0,
    step_s=0.02,
    crowding=0.5,
    load_s=8.0,
    slots=2,
    is_bounded=True,
    trust=1.0,
    first_byte_s=None,
)
DEMAND = Demand("m", "", tokens=500.0, output=100.0, blocks=(), size_bytes=6_000.0)


def three_seconds(_node, runner, _now):
    return {"other": 3.0}[runner.key]


def shadow_with(*keys):
    shadow = Shadow()
    shadow.seen("a", [(key, make_loaded("x")) for key in keys], 0.0)
    return shadow


def full_of(key):
    """A node that was seen to have no room for another beside it."""
    shadow = shadow_with("early")
    send(shadow, 0, key)
    shadow.first_byte(0, 1.0)
    shadow.ended(0, 2.0)
    shadow.seen("a", [(key, make_loaded("x"))], 3.0)
    return shadow


def send(shadow, ticket, key="m", *, first_at=None, left_s=4.0, uncached=300.0):
    flight = Flight(Arrival(canonical=key), "a", key, 0.0)
    flight.uncached, flight.decode_s, flight.left_s = uncached, left_s, left_s
    flight.work_s = flight.write_s = left_s
    shadow.sent(ticket, flight, 6_000.0, 0.0)
    if first_at is not None:
        shadow.first_byte(ticket, first_at)
    return flight


def weighed(shadow, demand=DEMAND, *, others=0.0, busy=0.0, loss=lambda *_about: 0.0):
    place = shadow.place("a")
    demand = msgspec.structs.replace(demand, busy=busy)
    return weigh(NODE, place, RATES, demand, 0.0, others=others, loss=loss)


def test_an_idle_node_with_the_model_costs_its_reading_and_its_writing() -> None:
    found = weighed(shadow_with("m"))
    assert found.ttft_s == pytest.approx(0.5 + 0.02)
    assert found.decode_s == pytest.approx(2.0)
    assert (found.load_s, found.wait_s, found.others_s, found.eviction_s) == (0, 0, 0, 0)
    assert found.is_free
    assert not found.is_cold


def test_a_node_that_nothing_is_known_of_has_to_load() -> None:
    found = weigh(NODE, None, RATES, DEMAND, 0.0, others=0.0, loss=lambda *_about: 0.0)
    assert (found.is_cold, found.load_s) == (True, 8.0)
    assert found.work_s == pytest.approx(0.5 + 2.0 + 8.0)


def test_what_is_cached_is_not_read_again() -> None:
    shadow = shadow_with("m")
    shadow.place("a").runners["m"].prompts.put((1, 2, 3, 4), 0.0)
    demand = Demand("m", "", 500.0, 100.0, (1, 2, 3, 9), 6_000.0)
    assert weighed(shadow, demand).uncached == pytest.approx(125.0)


def test_what_gives_way_in_a_cache_costs_what_it_takes_to_read() -> None:
    shadow = shadow_with("m")
    for number in range(FIRST_DEPTH):
        shadow.place("a").runners["m"].prompts.put((number, 7, 8, 9, 10), 0.0)
    demand = Demand("m", "", 500.0, 100.0, (77, 78), 6_000.0)
    assert weighed(shadow, demand).eviction_s == pytest.approx(5 * BLOCK_TOKENS / RATES.prefill)


def test_answers_together_are_slower_each() -> None:
    shadow = shadow_with("m")
    send(shadow, 1, first_at=0.0)
    assert weighed(shadow).decode_s == pytest.approx(100 * 0.02 * 1.5)


def test_prompts_before_ours_are_read_first() -> None:
    shadow = shadow_with("m")
    send(shadow, 1, uncached=300.0)
    assert weighed(shadow).ttft_s == pytest.approx(0.5 + 0.3 + 0.02)


def test_without_a_slot_the_first_of_all_to_end_is_waited_for_wherever_they_are() -> None:
    shadow = shadow_with("m")
    send(shadow, 1, first_at=0.0, left_s=4.0)
    send(shadow, 2, first_at=0.0, left_s=7.0)
    found = weighed(shadow)
    assert (found.is_free, found.wait_s) == (False, 5.5 / 2)
    send(shadow, 3, left_s=4.0)
    assert weighed(shadow).wait_s == pytest.approx(5.0 / 2 * 2)


def test_while_nobody_was_seen_to_wait_there_may_be_another_slot() -> None:
    shadow = shadow_with("m")
    send(shadow, 1, first_at=0.0)
    send(shadow, 2, first_at=0.0)
    hopeful = msgspec.structs.replace(RATES, is_bounded=False)
    found = weigh(
        NODE, shadow.place("a"), hopeful, DEMAND, 0.0, others=0.0, loss=lambda *_about: 0.0
    )
    assert 0.0 < found.wait_s < weighed(shadow).wait_s


def test_requests_of_others_take_slots_too() -> None:
    shadow = shadow_with("m")
    assert weighed(shadow, others=1.0).wait_s == 0.0
    assert weighed(shadow, others=2.0).wait_s > 0.0


def test_another_model_that_is_busy_shares_the_device() -> None:
    shadow = shadow_with("m", "other")
    send(shadow, 1, "other", first_at=0.0)
    assert weighed(shadow).decode_s == pytest.approx(4.0)


def test_who_has_to_leave_costs_those_who_want_it() -> None:
    shadow = full_of("other")
    assert weighed(shadow, loss=three_seconds).eviction_s == 3.0


def test_while_a_node_was_never_seen_to_be_full_it_is_hoped_that_nobody_leaves() -> None:
    assert 0.0 < weighed(shadow_with("other"), loss=three_seconds).eviction_s < 3.0


def test_a_load_is_shared_by_those_that_come_after_it() -> None:
    wanted = msgspec.structs.replace(DEMAND, sharers=3.0)
    rare, often = (weighed(shadow_with(), demand) for demand in (DEMAND, wanted))
    assert often.ttft_s == rare.ttft_s
    assert rare.cost_s - often.cost_s == pytest.approx(RATES.load_s * 3 / 4)


def test_nothing_is_made_to_leave_for_one_more_copy() -> None:
    wanted = msgspec.structs.replace(DEMAND, sharers=3.0)
    full = full_of("other")
    assert weighed(full, wanted).cost_s == weighed(full).cost_s
    busy = shadow_with("other")
    send(busy, 1, "other", first_at=0.0)
    assert weighed(busy, wanted).cost_s == weighed(busy).cost_s


def test_a_second_of_reading_along_counts_less_than_one_of_waiting() -> None:
    streamed = msgspec.structs.replace(DEMAND, answer_weight=ANSWER_WEIGHT)
    whole, along = (weighed(shadow_with("m"), demand) for demand in (DEMAND, streamed))
    assert along.decode_s == whole.decode_s
    assert whole.cost_s - along.cost_s == pytest.approx((1 - ANSWER_WEIGHT) * whole.decode_s)


def test_a_busy_model_is_drained_before_another_is_loaded() -> None:
    shadow = shadow_with("other")
    send(shadow, 1, "other", first_at=0.0, left_s=5.0)
    assert weighed(shadow).load_s == pytest.approx(8.0 + 5.0)


def test_of_several_answers_the_last_is_drained_later_than_their_mean() -> None:
    shadow = shadow_with("other")
    for ticket in (1, 2, 3):
        send(shadow, ticket, "other", first_at=0.0, left_s=5.0)
    assert 8.0 + 5.0 < weighed(shadow).load_s < 8.0 + 15.0


def test_a_reload_with_requests_under_way_costs_them_a_load_back() -> None:
    shadow = shadow_with("m")
    send(shadow, 1, first_at=0.0, left_s=5.0)
    demand = Demand("m", '{"num_ctx":8192}', 500.0, 100.0, (), 6_000.0)
    found = weighed(shadow, demand)
    assert (found.is_cold, found.load_s, found.eviction_s) == (True, 13.0, 8.0)


def test_work_at_a_busy_node_costs_those_who_come_after() -> None:
    shadow = shadow_with("m")
    send(shadow, 1, first_at=0.0)
    assert weighed(shadow).others_s == 0.0
    light, heavy = (weighed(shadow, busy=share).others_s for share in (0.5, 0.8))
    assert 0.0 < light < heavy
    assert weighed(shadow, busy=0.99).others_s == weighed(shadow, busy=3.0).others_s


def test_it_says_what_the_second_best_lacks() -> None:
    warm, cold = weighed(shadow_with("m")), weighed(shadow_with())
    assert lacks(warm, cold) == "a +8.000 s (load)"
    assert lacks(warm, None) == ""


def test_small_requests_of_another_model_do_not_wait_behind_ours() -> None:
    shadow = shadow_with("m", "other")
    send(shadow, 1, left_s=2.0)
    alone = weighed(shadow, busy=0.5).others_s
    for ticket in range(2, 40):
        send(shadow, ticket, "other", left_s=0.001)
        shadow.ended(ticket, 0.0)
    assert weighed(shadow, busy=0.5).others_s == pytest.approx(alone)
