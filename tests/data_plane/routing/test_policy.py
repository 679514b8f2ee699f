"""The policy as a whole: told what happens, asked for nodes."""

import random

import msgspec
import pytest
from fakes.snapshots import make_model, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.choose import Choice
from data_plane.routing.events import Arrival, Finished, Hold, NoNode, Reason
from data_plane.routing.policy import TRIED_MORE_S, Policy
from data_plane.routing.pools import Pools
from data_plane.routing.prefix import block_hashes
from shared.model_names import canonical_name
from shared.snapshot import LoadedModel, ProxyConfig, Strategy

LLAMA3 = canonical_name("llama3")
DIGEST = make_model("llama3").digest
NAMES = ["alpha", "beta", "gamma"]


def pools_of(*names, strategy=Strategy.PREDICTED, loaded=(), models=("llama3",), **fields):
    in_memory = {name: {"loaded": (in_memory_of(),), **fields.get(name, {})} for name in loaded} | {
        name: given for name, given in fields.items() if name not in loaded
    }
    snapshot = make_snapshot({name: list(models) for name in names}, fields=in_memory)
    return Pools.build(
        msgspec.structs.replace(snapshot, config=ProxyConfig(strategy=strategy, explain=True))
    )


def in_memory_of(context_length=4096):
    return LoadedModel(
        name="llama3:latest",
        canonical=LLAMA3,
        digest=DIGEST,
        size_bytes=5_000_000_000,
        size_vram_bytes=5_000_000_000,
        context_length=context_length,
    )


def policy_of(pools, seed=7, **more):
    policy = Policy(random.Random(seed).random, **more)  # noqa: S311 - the same in every run
    policy.use(pools, 0.0)
    return policy


def arrival(**more):
    return Arrival(**{"canonical": LLAMA3, "digest": DIGEST, "prompt_tokens": 600, **more})


def text_of(seed, length=4_096):
    return random.Random(seed).randbytes(length)  # noqa: S311 - text that is never the same


def record(*, prefill=2_000.0, step=0.01, prompt=600, output=100, load=0.01, wait=0.0):
    prompt_s, eval_s = prompt / prefill, output * step
    return Finished(
        load_s=load,
        prompt_tokens=prompt,
        prompt_s=prompt_s,
        eval_tokens=output,
        eval_s=eval_s,
        total_s=load + wait + prompt_s + eval_s,
    )


def run(policy, node_id, now=0.0, *, asked=None, **kind):
    """One request from beginning to end; returns when it was over."""
    ticket = policy.sent(asked or arrival(), node_id, now)
    said = record(**kind)
    first_at = now + said.total_s - said.eval_s
    policy.first_byte(ticket, first_at)
    policy.finished(ticket, said, now + said.total_s)
    return now + said.total_s


def taught(*names, speeds, loaded=NAMES, rounds=20, **fields):
    """A policy that knows how fast each node is: by name, tokens read a second and step."""
    policy = policy_of(pools_of(*names, loaded=loaded, **fields))
    now = 0.0
    for _ in range(rounds):
        for name in names:
            prefill, step = speeds[name]
            now = run(policy, name, now, prefill=prefill, step=step)
    return policy, now + 600.0


def test_a_node_that_has_the_model_in_memory_is_chosen() -> None:
    policy = policy_of(pools_of(*NAMES, loaded=["beta"]))
    choice = policy.choose(arrival(), 1.0)
    assert (choice.node.name, choice.reason) == ("beta", Reason.PREDICTED)
    assert choice.terms.load_s == 0.0
    assert choice.candidates == 3
    assert "(load)" in choice.runner_up


def test_the_faster_node_is_chosen_once_both_are_known() -> None:
    policy, now = taught("alpha", "beta", speeds={"alpha": (500, 0.05), "beta": (4_000, 0.01)})
    assert policy.choose(arrival(), now).node.name == "beta"


def test_a_busy_fast_node_loses_to_an_idle_slower_one() -> None:
    policy, now = taught("alpha", "beta", speeds={"alpha": (3_000, 0.012), "beta": (4_000, 0.01)})
    for _ in range(3):
        policy.sent(arrival(), "beta", now)
    assert policy.choose(arrival(), now).node.name == "alpha"


def test_waiting_for_a_fast_node_may_be_better_than_a_slow_one_at_once() -> None:
    speeds = {"alpha": (50, 0.5), "beta": (4_000, 0.01)}
    told = {name: {"max_parallel": 1} for name in ("alpha", "beta")}
    policy, now = taught("alpha", "beta", speeds=speeds, **told)
    policy.sent(arrival(), "beta", now)
    assert policy.choose(arrival(), now).node.name == "beta"
    held = policy.choose(arrival(), now, may_hold=True)
    assert isinstance(held, Hold)
    assert 0.0 < held.predicted_s < 10.0


def test_who_is_held_counts_for_those_who_come_later() -> None:
    speeds = {"alpha": (50, 0.5), "beta": (4_000, 0.01)}
    told = {name: {"max_parallel": 1} for name in ("alpha", "beta")}
    policy, now = taught("alpha", "beta", speeds=speeds, **told)
    policy.sent(arrival(), "beta", now)
    first = policy.choose(arrival(), now, may_hold=True)
    second = policy.choose(arrival(), now, may_hold=True, ahead={first.node_id: 1})
    assert second.predicted_s > first.predicted_s
    crowd = {first.node_id: 1_000}
    assert policy.choose(arrival(), now, may_hold=True, ahead=crowd).node.name == "alpha"


def test_nothing_is_held_where_slots_are_unknown() -> None:
    policy = policy_of(pools_of("alpha", loaded=["alpha"]))
    for _ in range(5):
        assert isinstance(policy.choose(arrival(), 0.0, may_hold=True), Choice)
        policy.sent(arrival(), "alpha", 0.0)


def test_other_load_time_options_are_a_reload() -> None:
    policy = policy_of(pools_of("alpha", "beta", loaded=["alpha", "beta"]))
    run(policy, "alpha", asked=arrival(options_key='{"num_ctx":32768}'))
    choice = policy.choose(arrival(options_key='{"num_ctx":32768}'), 100.0)
    assert (choice.node.name, choice.terms.load_s) == ("alpha", 0.0)
    assert policy.choose(arrival(options_key='{"num_ctx":4096}'), 100.0).node.name == "beta"


def test_a_prompt_goes_back_to_the_node_that_has_its_beginning() -> None:
    speeds = dict.fromkeys(NAMES, (800, 0.02))
    policy, now = taught(*NAMES, speeds=speeds)
    text = text_of(1)
    first = arrival(blocks=block_hashes(b"", [text]), prompt_tokens=4_000)
    now = run(policy, "gamma", now, asked=first, prompt=4_000, prefill=800) + 600.0
    again = arrival(blocks=block_hashes(b"", [text, text_of(2, 512)]), prompt_tokens=4_100)
    assert policy.choose(again, now).node.name == "gamma"


def test_equals_share() -> None:
    policy = policy_of(pools_of(*NAMES, loaded=NAMES))
    counts = dict.fromkeys(NAMES, 0)
    for _ in range(600):
        counts[policy.choose(arrival(), 0.0).node.name] += 1
    assert min(counts.values()) > 120


def test_a_load_that_hangs_is_avoided_until_the_node_says_that_it_is_done() -> None:
    policy = policy_of(pools_of("alpha", "beta"))
    asked = arrival()
    node = policy.choose(asked, 0.0).node.name
    policy.sent(asked, node, 0.0)
    other = "beta" if node == "alpha" else "alpha"
    assert policy.tick(30.0) == []
    assert policy.tick(3_000.0) == [(node, DIGEST)]
    assert policy.tick(3_001.0) == []
    for _ in range(30):  # busy as the other is
        policy.sent(arrival(), other, 3_001.0)
    assert policy.choose(arrival(), 3_001.0).node.name == other
    policy.ps_seen(node, (in_memory_of(),), 3_002.0)
    assert policy.choose(arrival(), 3_002.0).node.name == node


def test_a_busy_model_that_has_to_leave_gets_no_more_requests() -> None:
    models = [make_model("llama3"), make_model("mistral")]
    snapshot = make_snapshot(
        {"alpha": models, "beta": models}, fields={"alpha": {"loaded": (in_memory_of(),)}}
    )
    policy = policy_of(
        Pools.build(
            msgspec.structs.replace(snapshot, config=ProxyConfig(strategy=Strategy.PREDICTED))
        )
    )
    mistral = canonical_name("mistral")
    policy.sent(arrival(), "alpha", 0.0)
    policy.sent(Arrival(canonical=mistral, digest=models[1].digest), "alpha", 0.0)
    assert policy.choose(arrival(), 0.1).node.name == "beta"


def test_what_was_learned_survives_a_restart() -> None:
    speeds = {"alpha": (500, 0.05), "beta": (4_000, 0.01)}
    policy, now = taught("alpha", "beta", speeds=speeds)
    again = policy_of(pools_of("alpha", "beta", loaded=["alpha", "beta"]))
    again.remember(policy.learned())
    assert again.choose(arrival(), now).node.name == "beta"


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"pairs":{"a":{"m":{"steps":"x"}}}}'])
def test_what_is_no_memory_is_refused(kept) -> None:
    with pytest.raises(ValueError, match="."):
        policy_of(pools_of("alpha")).remember(kept)


def test_before_a_snapshot_there_is_nothing_to_choose_from() -> None:
    with pytest.raises(RuntimeError, match="call `use` first"):
        Policy(random.random).choose(arrival(), 0.0)


def test_lowest_latency_goes_by_what_was_measured_and_by_the_wait() -> None:
    pools = pools_of("alpha", "beta", strategy=Strategy.LOWEST_LATENCY, loaded=["alpha", "beta"])
    policy = policy_of(pools, latencies={"alpha": 0.001, "beta": 0.9})
    now = 0.0
    for _ in range(5):
        now = run(policy, "alpha", now, prefill=300)
        now = run(policy, "beta", now, prefill=3_000)
    choice = policy.choose(arrival(), now)
    assert (choice.node.name, choice.reason) == ("beta", Reason.LOWEST_LATENCY)
    for _ in range(9):
        policy.sent(arrival(), "beta", now)
    assert policy.choose(arrival(), now).node.name == "alpha"


def test_lowest_latency_begins_with_the_round_trip() -> None:
    pools = pools_of(*NAMES, strategy=Strategy.LOWEST_LATENCY, loaded=NAMES)
    policy = policy_of(pools, latencies={"alpha": 0.3, "beta": 0.1, "gamma": 0.2})
    assert policy.choose(arrival(), 0.0).node.name == "beta"


def test_least_active_takes_whoever_has_the_model_of_the_idlest() -> None:
    pools = pools_of(*NAMES, strategy=Strategy.LEAST_ACTIVE, loaded=["gamma"])
    policy = policy_of(pools)
    assert policy.quick(pools, LLAMA3, frozenset()).node.name == "gamma"
    policy.sent(arrival(), "gamma", 0.0)
    assert policy.quick(pools, LLAMA3, frozenset()).node.name in {"alpha", "beta"}
    policy.ps_seen("alpha", (in_memory_of(),), 0.0)
    assert policy.quick(pools, LLAMA3, frozenset()).node.name == "alpha"


def test_one_of_many_that_is_warm_is_found() -> None:
    names = [f"n{number:02}" for number in range(60)]
    policy = policy_of(pools_of(*names, loaded=["n57"]))
    found = [policy.choose(arrival(), 0.0).node.name for _ in range(8)]
    assert found[-1] == "n57"


def test_prediction_errors_are_counted() -> None:
    policy = policy_of(pools_of("alpha", loaded=["alpha"]))
    run(policy, "alpha")
    assert len(policy.errors) == 1


steps = st.lists(
    st.tuples(
        st.sampled_from(["sent", "first", "finished", "aborted", "seen", "unseen", "tick"]),
        st.integers(0, 2),
        st.floats(0.0, 50.0),
    ),
    max_size=40,
)


@given(
    steps=steps,
    strategy=st.sampled_from(list(Strategy)),
    excluded=st.sets(st.sampled_from(NAMES)),
    down=st.sets(st.sampled_from(NAMES)),
)
def test_whatever_happens_a_choice_is_allowed_and_never_missing(
    *, steps, strategy, excluded, down
) -> None:
    policy = policy_of(pools_of(*NAMES, strategy=strategy))
    now, tickets = 0.0, []
    for what, which, passed in steps:
        now += passed
        if what == "sent":
            asked = arrival(
                blocks=block_hashes(b"", [text_of(which)]),
                options_key=["", '{"num_ctx":8192}'][which % 2],
            )
            tickets.append(policy.sent(asked, NAMES[which], now))
        elif what in {"seen", "unseen"}:
            policy.ps_seen(NAMES[which], (in_memory_of(),) if what == "seen" else (), now)
        elif what == "tick":
            policy.tick(now)
        elif tickets:
            ticket = tickets[which % len(tickets)]
            if what == "first":
                policy.first_byte(ticket, now)
            elif what == "finished":
                policy.finished(ticket, record(prompt=1 + which, wait=passed), now)
            else:
                policy.aborted(ticket, now)
    got = policy.choose(arrival(), now, excluded=excluded, down=down)
    usable = set(NAMES) - excluded - down
    if usable:
        assert got.node.name in usable
        assert got.candidates == len(usable)
    else:
        assert isinstance(got, NoNode)


def test_a_slot_more_is_tried_now_and_then() -> None:
    """Held requests never wait at the node, so that nothing else would tell of a further slot."""
    policy, now = taught("alpha", speeds={"alpha": (2_000, 0.01)})
    first, second = (policy.sent(arrival(), "alpha", now) for _ in range(2))
    policy.finished(first, record(), now)
    policy.finished(second, record(wait=1.0), now)
    policy.sent(arrival(), "alpha", now)

    for _ in range(2):  # it is not the asking that counts
        assert isinstance(policy.choose(arrival(), now, may_hold=True), Choice)
    policy.aborted(policy.sent(arrival(), "alpha", now), now)
    assert isinstance(policy.choose(arrival(), now + 1.0, may_hold=True), Hold)
    assert isinstance(policy.choose(arrival(), now + TRIED_MORE_S, may_hold=True), Choice)
