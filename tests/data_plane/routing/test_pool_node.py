"""A node as the path sees it."""

from fakes.snapshots import make_snapshot

from data_plane.routing.pool_node import PoolNode
from data_plane.routing.pools import Pools


def test_holding_other_models_changes_nothing_else() -> None:
    node = Pools.build(make_snapshot({"alpha": ["llama3"]})).nodes["alpha"]
    other = node.holding(("something",))
    assert (node.loaded, other.loaded) == ((), ("something",))
    names = [name for name in dir(PoolNode) if not name.startswith("_")]
    assert {"id", "weight", "sealed_token"} < set(names)
    changed = [name for name in names if getattr(node, name) != getattr(other, name)]
    assert changed == ["holding", "loaded"]
