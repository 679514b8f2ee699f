"""What a request would cost at a node, put together."""

import pytest
from fakes.snapshots import make_model, make_snapshot

from data_plane.routing.events import Arrival
from data_plane.routing.fleet import Fleet
from data_plane.routing.learning import DEFAULT_BYTES, Learned
from data_plane.routing.place import Flight
from data_plane.routing.pools import Pools
from data_plane.routing.predict import ANSWER_WEIGHT
from data_plane.routing.shadow import Shadow
from data_plane.routing.shortlist import Shortlists
from data_plane.routing.weighing import UNHEARD_S, Weighing
from shared.flights import Flights, PairFlights
from shared.model_names import canonical_name

LLAMA3 = canonical_name("llama3")
DIGEST = make_model("llama3").digest


class Desk:
    """A weighing with all that it looks at, and two nodes that have the model in memory."""

    def __init__(self, *, are_loads_ours: bool = True) -> None:
        self.learned, self.shadow = Learned(), Shadow()
        self.fleet = Fleet(self.shadow, Shortlists(), lambda _: None)
        self.weighing = Weighing(
            self.learned, self.shadow, self.fleet, are_loads_ours=are_loads_ours
        )
        self.pools = Pools.build(make_snapshot({"alpha": ["llama3"], "beta": ["llama3"]}))
        self.weighing.use(self.pools)
        self.nodes = {node.name: node for node in self.pools.nodes.values()}
        self.fleet.use(frozenset(self.pools.nodes), self.weighing.sizes)
        for node_id in self.pools.nodes:
            self.shadow.said(node_id, DIGEST, 5e9, 0.0, 0.0)

    def weigh(self, name, now=1.0, loads=None, **arrival):
        asked = Arrival(**{"canonical": LLAMA3, "digest": DIGEST, **arrival})
        demand = self.weighing.demand(asked, now)
        return self.weighing.weigh(self.nodes[name], demand, now, loads or {})


def test_a_model_is_known_by_its_digest_under_whatever_name() -> None:
    weighing = Desk().weighing
    assert weighing.key_of(Arrival(canonical=LLAMA3)) == DIGEST
    assert weighing.key_of(Arrival(canonical="other", digest="d1")) == "d1"
    assert weighing.key_of(Arrival(canonical="other")) == "other"
    assert weighing.size_of(DIGEST) == make_model("llama3").size_bytes
    assert weighing.size_of("other") == DEFAULT_BYTES


def test_what_a_request_takes_is_what_it_says_and_else_what_is_usual() -> None:
    desk = Desk()
    habits = desk.learned.of_model(DIGEST)
    habits.prompt, habits.output, habits.factor = 70.0, 90.0, 2.0
    asked = Arrival(canonical=LLAMA3, is_streamed=True)
    usual = desk.weighing.demand(asked, 1.0)
    assert (usual.tokens, usual.output, usual.answer_weight) == (70.0, 90.0, ANSWER_WEIGHT)
    told = Arrival(canonical=LLAMA3, prompt_tokens=100, max_output=8, is_streamed=False)
    demand = desk.weighing.demand(told, 1.0)
    assert (demand.tokens, demand.output, demand.answer_weight) == (200.0, 8.0, 1.0)
    embedding = Arrival(canonical=LLAMA3, is_embedding=True)
    assert desk.weighing.demand(embedding, 1.0).output == 0.0


@pytest.mark.parametrize("are_loads_ours", [True, False])
def test_a_request_of_another_instance_counts_once(are_loads_ours) -> None:
    """The count of the fleet has it already, and what the instance itself says has it too."""
    desk = Desk(are_loads_ours=are_loads_ours)
    node_id = desk.nodes["alpha"].id
    pairs = (PairFlights(node=0, model=0, count=1),)
    told = Flights(nodes=(node_id,), models=(DIGEST,), active=(1,), pairs=pairs)
    desk.fleet.heard({"other": told}, 1.0)
    loads = {} if are_loads_ours else {node_id: 1.0}
    assert desk.weigh("alpha", loads=loads).active == 1.0
    assert desk.weigh("beta", loads=loads).active == 0.0
    assert desk.weigh("alpha", loads=loads).cost_s > desk.weigh("beta", loads=loads).cost_s


@pytest.mark.parametrize("are_loads_ours", [True, False])
def test_a_request_of_ours_counts_once(are_loads_ours) -> None:
    desk = Desk(are_loads_ours=are_loads_ours)
    node_id = desk.nodes["alpha"].id
    flight = Flight(Arrival(canonical=LLAMA3), node_id, DIGEST, 1.0)
    desk.shadow.sent(1, flight, 5e9, 1.0)
    assert desk.weigh("alpha", loads={node_id: 1.0}).active == 1.0


def test_the_first_byte_is_the_wait_and_what_was_measured_else_the_round_trip() -> None:
    desk = Desk()
    alpha, beta = desk.nodes["alpha"].id, desk.nodes["beta"].id
    entry = desk.pools.models[LLAMA3]
    desk.learned.pair(alpha, DIGEST).first_byte_s = 0.4
    found = desk.weighing.first_bytes(Arrival(canonical=LLAMA3), entry, 1.0, {}, {beta: 0.01})
    assert found == {alpha: 0.4, beta: 0.01}
    neither = desk.weighing.first_bytes(Arrival(canonical=LLAMA3), entry, 1.0, {}, {})
    assert neither == {alpha: 0.4}


def test_an_idle_node_that_was_heard_of_long_ago_is_unheard() -> None:
    desk = Desk()
    for name in ("alpha", "beta"):
        desk.learned.pair(desk.nodes[name].id, DIGEST).last_at = 1.0
    found = [desk.weigh(name) for name in ("alpha", "beta")]
    assert desk.weighing.unheard(found, DIGEST, 1.0 + UNHEARD_S) is None
    desk.learned.pair(desk.nodes["alpha"].id, DIGEST).last_at = 500.0
    unheard = desk.weighing.unheard(found, DIGEST, 2.0 + UNHEARD_S)
    assert unheard is not None
    assert unheard.node.name == "beta"
