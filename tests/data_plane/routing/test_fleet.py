"""What several instances tell each other, and what they make of it."""

import msgspec
import pytest
from fakes.snapshots import make_loaded, make_model, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.events import Arrival, Finished, Hold
from data_plane.routing.fleet import Elsewhere, Fleet
from data_plane.routing.place import Place
from data_plane.routing.policy import Policy
from data_plane.routing.pools import Pools
from data_plane.routing.prefix import block_hashes
from data_plane.routing.shadow import Shadow
from data_plane.routing.shortlist import Shortlists
from shared import flights
from shared.flights import Flights, PairFlights
from shared.snapshot import ProxyConfig, Strategy

BIG = make_model("big", size_bytes=5_000_000_000)
SMALL = make_model("small", size_bytes=5_000_000_000)
IN_MEMORY = {
    model.canonical: make_loaded(model.name, digest=model.digest, size_vram_bytes=6_000_000_000)
    for model in (BIG, SMALL)
}
SAID = Finished(
    load_s=0.01, prompt_tokens=600, prompt_s=0.3, eval_tokens=100, eval_s=1.0, total_s=1.31
)
TEXT = bytes(range(256)) * 16
NODES = ("alpha", "beta")


def pools_of(*, loaded=(BIG, SMALL), max_parallel=None) -> Pools:
    fields = {
        "loaded": tuple(IN_MEMORY[model.canonical] for model in loaded),
        "max_parallel": max_parallel,
    }
    snapshot = make_snapshot(
        {name: [BIG, SMALL] for name in NODES}, fields=dict.fromkeys(NODES, fields)
    )
    config = ProxyConfig(strategy=Strategy.PREDICTED)
    return Pools.build(msgspec.structs.replace(snapshot, config=config))


def node_id(name: str) -> str:
    return next(node.id for node in pools_of().nodes.values() if node.name == name)


class Instance:
    """One data plane: its policy, and the count of each node over the fleet, which it is given."""

    def __init__(self, name: str, pools: Pools) -> None:
        self.name = name
        self.counts: dict[str, float] = {}
        self.own: dict[str, int] = {}
        self.policy = Policy(lambda: 0.5, loads=lambda: self.counts)
        self.policy.use(pools, 0.0)
        self.turn = 0

    def send(self, model=BIG, node: str = "alpha", now: float = 1.0, blocks=()) -> int:
        asked = arrival(model, blocks)
        where = node_id(node)
        self.own[where] = self.own.get(where, 0) + 1
        self.counts[where] = self.counts.get(where, 0) + 1
        return self.policy.sent(asked, where, now)

    def tell(self, now: float = 1.0) -> Flights:
        self.turn += 1
        told = self.policy.fleet.flights(self.own, now)
        sent = flights.encode(msgspec.structs.replace(told, life=self.name, turn=self.turn))
        heard = flights.decode(sent)
        assert heard is not None
        return heard

    def hear(self, *others: "Instance", now: float = 1.0, count: bool = True) -> None:
        told = {other.name: other.tell(now) for other in others}
        if count:
            for each in told.values():
                for where, active in zip(each.nodes, each.active, strict=True):
                    self.counts[where] = self.own.get(where, 0) + active
        self.policy.fleet.heard(told, now)


def arrival(model=BIG, blocks=()) -> Arrival:
    return Arrival(canonical=model.canonical, digest=model.digest, prompt_tokens=600, blocks=blocks)


def chosen(instance: Instance, model=BIG, now: float = 2.0, blocks=(), *, may_hold=False):
    return instance.policy.choose(arrival(model, blocks), now, may_hold=may_hold)


def estimate(instance: Instance, model=BIG, node: str = "alpha", blocks=()):
    pools = pools_of()
    ((found, _),) = instance.policy.estimates(
        arrival(model, blocks), [pools.nodes[node_id(node)]], 2.0
    )
    return found


def test_what_another_has_under_way_is_taken_into_account() -> None:
    ours, theirs = (Instance(name, pools_of(max_parallel=1)) for name in ("a", "b"))
    theirs.send(BIG, "alpha")
    ours.hear(theirs)
    assert estimate(ours, BIG).active == 1
    assert estimate(ours, BIG).wait_s > 0.0
    assert estimate(ours, BIG, "beta").active == 0
    assert chosen(ours, BIG).node.name == "beta"


def test_requests_of_another_for_another_model_take_no_slot_but_time() -> None:
    ours, theirs = (Instance(name, pools_of(max_parallel=1)) for name in ("a", "b"))
    theirs.send(SMALL, "alpha")
    before = estimate(ours, BIG)
    ours.hear(theirs)
    found = estimate(ours, BIG)
    assert (found.active, found.wait_s) == (0, 0.0)
    assert found.decode_s == pytest.approx(2 * before.decode_s)
    assert chosen(ours, BIG).node.name == "beta"


def test_what_is_counted_and_not_explained_is_of_whatever_model() -> None:
    ours, theirs = (Instance(name, pools_of()) for name in ("a", "b"))
    theirs.send(BIG, "alpha")
    theirs.own[node_id("alpha")] += 3  # by a strategy that the policy is not told of
    ours.hear(theirs)
    assert estimate(ours, BIG).active == 4
    assert estimate(ours, SMALL).active == 3


def test_counts_of_mates_on_the_board_are_neither_forgotten_nor_counted_twice() -> None:
    """One mate told of its requests, another has not yet; a peer has as well."""
    ours, mate, peer = (Instance(name, pools_of()) for name in ("g.1", "g.2", "p"))
    mate.send(BIG, "alpha")
    peer.send(SMALL, "alpha")
    ours.send(BIG, "alpha")
    ours.hear(mate, peer, count=False)
    board, reported = 1 + 2, 1  # two of them at a mate that has told nothing
    ours.counts = {node_id("alpha"): 1 + board + reported}
    assert estimate(ours, BIG).active == 1 + 1 + 2
    assert estimate(ours, SMALL).active == 1 + 2


def test_who_has_ended_since_it_was_told_is_not_counted() -> None:
    ours, mate = (Instance(name, pools_of()) for name in ("g.1", "g.2"))
    for _ in range(3):
        mate.send(BIG, "alpha")
    ours.hear(mate, count=False)
    ours.counts = {node_id("alpha"): 1}  # the board knows at once
    assert estimate(ours, BIG).active == 1
    ours.counts = {}
    assert estimate(ours, BIG).active == 0


def test_a_slot_that_another_has_taken_is_waited_for() -> None:
    ours, theirs = (Instance(name, pools_of(max_parallel=1)) for name in ("a", "b"))
    for node in NODES:
        theirs.send(BIG, node)
    assert not isinstance(chosen(ours, BIG, may_hold=True), Hold)
    ours.hear(theirs)
    assert isinstance(chosen(ours, BIG, may_hold=True), Hold)
    ours.counts = {}
    ours.policy.fleet.heard({}, 2.0)  # it is dead
    assert not isinstance(chosen(ours, BIG, may_hold=True), Hold)


def test_a_prompt_that_another_has_sent_is_expected_in_the_cache() -> None:
    ours, theirs = (Instance(name, pools_of()) for name in ("a", "b"))
    blocks = block_hashes(b"", [TEXT])
    ticket = theirs.send(BIG, "beta", blocks=blocks)
    theirs.policy.finished(ticket, SAID, 1.5)
    theirs.own.clear()
    longer = block_hashes(b"", [TEXT, TEXT[:256]])
    assert estimate(ours, BIG, "beta", longer).hit == 0.0
    ours.hear(theirs)
    assert estimate(ours, BIG, "beta", longer).hit == len(blocks) / len(longer)
    assert estimate(ours, BIG, "alpha", longer).hit == 0.0
    assert chosen(ours, BIG, blocks=longer).node.name == "beta"


def test_a_prompt_is_taken_in_once_and_those_of_the_next_life_anew() -> None:
    ours, theirs = (Instance(name, pools_of()) for name in ("a", "b"))
    first, second = (block_hashes(seed, [TEXT]) for seed in (b"1", b"2"))
    theirs.send(BIG, "alpha", blocks=first)
    ours.hear(theirs)
    ours.send(BIG, "alpha", blocks=second)
    prompts = ours.policy._shadow.places[node_id("alpha")].runners[BIG.digest].prompts
    ours.hear(theirs)
    assert prompts.kept == [second, first]
    again = Instance("b", pools_of())
    again.send(BIG, "alpha", blocks=first)
    ours.policy.fleet.heard({"b": msgspec.structs.replace(again.tell(), life="next")}, 1.0)
    assert prompts.kept == [first, second]


def test_a_prompt_tells_that_its_model_is_in_memory_unless_it_may_be_an_old_one() -> None:
    pools, blocks = pools_of(loaded=()), block_hashes(b"", [TEXT])
    ours, theirs, stranger = (Instance(name, pools) for name in ("a", "b", "c"))
    for sender, node in ((theirs, "beta"), (stranger, "alpha")):
        if sender is theirs:
            ours.hear(theirs)  # what it says next has happened since
        ticket = sender.send(BIG, node, blocks=blocks)
        sender.policy.finished(ticket, SAID, 1.5)
        sender.own.clear()
    ours.hear(theirs, stranger)
    assert not estimate(ours, BIG, "beta", blocks).is_cold
    assert estimate(ours, BIG, "beta", blocks).hit == 1.0
    assert estimate(ours, BIG, "alpha", blocks).is_cold


def test_a_model_that_another_loads_is_there_when_it_says() -> None:
    pools = pools_of(loaded=())
    ours, theirs = (Instance(name, pools) for name in ("a", "b"))
    theirs.send(BIG, "beta")
    load_s = estimate(theirs, BIG, "alpha").load_s
    ours.hear(theirs)
    found = estimate(ours, BIG, "beta")
    assert not found.is_cold
    assert 0.0 < found.load_s < load_s
    assert estimate(ours, BIG, "alpha").is_cold
    ours.counts = {}
    ours.policy.fleet.heard({}, 60.0)  # its request has ended, and the model stays
    assert chosen(ours, BIG, 60.0).node.name == "beta"


def test_who_has_to_leave_for_what_another_loads_leaves() -> None:
    pools = pools_of(loaded=(SMALL,))
    ours, theirs = (Instance(name, pools) for name in ("a", "b"))
    assert not estimate(ours, SMALL, "beta").is_cold
    theirs.send(BIG, "beta")
    ours.hear(theirs)
    assert estimate(ours, SMALL, "beta").is_cold


def test_nodes_and_models_that_are_not_known_are_left_alone() -> None:
    ours = Instance("a", pools_of())
    told = Flights(
        nodes=("nobody", node_id("alpha")),
        models=("nothing", BIG.digest),
        active=(1, 1),
        pairs=(PairFlights(0, 1, 1), PairFlights(1, 0, 1)),
    )
    ours.policy.fleet.heard({"b": told}, 1.0)
    assert ours.policy.fleet.nodes == {}
    assert "nobody" not in ours.policy._shadow.places


def test_what_is_told_is_bounded() -> None:
    fleet = Fleet(Shadow(), Shortlists(), lambda _node: None)
    blocks = tuple(range(256))
    for number in range(1_000):
        fleet.sent("n", "m", (number, *blocks[1:]))
    told = fleet.flights({}, 0.0)
    assert len(told.prompts) == flights.MAX_BLOCKS // 256
    assert told.sent == 1_000
    assert flights.unpack(told.prompts[-1].blocks)[0] == 999
    for number in range(1_000):
        fleet.sent("n", "m", (number,))
    assert len(fleet.flights({}, 0.0).prompts) == flights.MAX_PROMPTS


def test_of_too_many_pairs_the_busiest_are_told(monkeypatch) -> None:
    monkeypatch.setattr("data_plane.routing.fleet.MAX_PAIRS", 1)
    ours, theirs = (Instance(name, pools_of()) for name in ("a", "b"))
    theirs.send(SMALL, "alpha")
    for _ in range(2):
        theirs.send(BIG, "alpha")
    assert [pair.count for pair in theirs.tell().pairs] == [2]
    ours.hear(theirs)
    assert estimate(ours, BIG).active == 3  # the one that was left out may be of any model
    assert estimate(ours, SMALL).active == 1


MODELS = st.sampled_from(["m1", "m2", "m3"])
COUNTS = st.dictionaries(MODELS, st.integers(1, 5))


@given(said=COUNTS, count=st.integers(0, 20), key=MODELS)
def test_no_request_of_others_is_counted_twice_or_for_another_model(said, count, key) -> None:
    there = Elsewhere()
    there.pairs, there.total = said, sum(said.values())
    found = there.others(key, count)
    assert 0 <= found <= count
    if count >= there.total:  # nothing has ended: all but what is for other models
        assert found == count - (there.total - said.get(key, 0))
    assert there.busy(key, Place("n")) == len(said.keys() - {key})


SENT = st.tuples(st.integers(0, 2), st.sampled_from(NODES), st.sampled_from([BIG, SMALL]))
STEPS = st.one_of(
    SENT.map(lambda step: ("send", *step)),
    st.tuples(st.just("end"), st.integers(0, 2), st.integers(0, 5)),
    st.tuples(st.just("write"), st.integers(0, 2)),
    st.tuples(st.just("read")),
    st.tuples(st.just("die"), st.integers(0, 2)),
)


@given(st.lists(STEPS, max_size=40))
def test_in_any_order_of_reports_the_sums_are_those_of_what_was_written_last(steps) -> None:
    pools = pools_of()
    ours = Instance("reader", pools)
    peers = [Instance(str(number), pools) for number in range(3)]
    under_way: list[list[tuple[int, str, str]]] = [[], [], []]
    written: dict[str, tuple[Flights, list[tuple[int, str, str]]]] = {}
    for kind, *given_ in steps:
        if kind == "send":
            number, node, model = given_
            ticket = peers[number].send(model, node)
            under_way[number].append((ticket, node_id(node), model.digest))
        elif kind == "end" and under_way[given_[0]]:
            number, which = given_
            ticket, where, _ = under_way[number].pop(which % len(under_way[number]))
            peers[number].policy.aborted(ticket, 1.0)
            peers[number].own[where] -= 1
        elif kind == "write":
            (number,) = given_
            written[str(number)] = peers[number].tell(), list(under_way[number])
        elif kind == "die":
            written.pop(str(given_[0]), None)
        elif kind == "read":
            ours.policy.fleet.heard({name: told for name, (told, _) in written.items()}, 1.0)
            expected: dict[tuple[str, str], int] = {}
            for _, flown in written.values():
                for _, where, key in flown:
                    expected[where, key] = expected.get((where, key), 0) + 1
            found = {
                (where, key): count
                for where, there in ours.policy.fleet.nodes.items()
                for key, count in there.pairs.items()
            }
            assert found == expected
            assert all(
                there.total == sum(there.pairs.values())
                for there in ours.policy.fleet.nodes.values()
            )
