"""What a choice by prediction costs, without everything around it.

A cluster in the middle of its work: each node has the model in memory, knows its speed, and has two
requests under way. The time is that of the choice alone. The best of some rounds is taken: what
else runs on the machine only ever adds.

    deciding.py [CORE]

Prints the median of 6 nodes and the 99th percentile of 100, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

import msgspec
from fakes.snapshots import make_loaded, make_model, make_snapshot

from data_plane.routing.events import Arrival, Finished
from data_plane.routing.policy import Policy
from data_plane.routing.pools import Pools
from data_plane.routing.prefix import block_hashes
from shared.snapshot import ProxyConfig, Strategy

CHOICES = 1_000
ROUNDS = 7
CONVERSATIONS = 30
SEED = 7
MODEL = make_model("llama3", size_bytes=5_000_000_000)
LOADED = make_loaded("llama3", digest=MODEL.digest, size_vram_bytes=6_000_000_000)
SAID = Finished(
    load_s=0.01, prompt_tokens=4_000, prompt_s=2.0, eval_tokens=100, eval_s=2.0, total_s=4.01
)


class Cluster:
    """So many nodes, and a policy that has learned of them."""

    def __init__(self, size: int) -> None:
        fields = {f"n{number}": {"loaded": (LOADED,)} for number in range(size)}
        snapshot = make_snapshot({name: [MODEL] for name in fields}, fields=fields)
        config = ProxyConfig(strategy=Strategy.PREDICTED)
        self.size = size
        self.policy = Policy(random.Random(SEED).random)  # noqa: S311 - the same in every run
        self.policy.use(Pools.build(msgspec.structs.replace(snapshot, config=config)), 0.0)
        dice = random.Random(SEED)  # noqa: S311 - as above
        self._asked = [self._arrival(dice) for _ in range(CONVERSATIONS)]
        self._dice = dice
        self._under_way: list[int] = []
        self._now = 0.0

    def _arrival(self, dice: random.Random) -> Arrival:
        blocks = block_hashes(b"", [dice.randbytes(16_384)])
        return Arrival(
            canonical=MODEL.canonical, digest=MODEL.digest, prompt_tokens=4_000, blocks=blocks
        )

    def one_more(self) -> float:
        """A request comes, another ends. Returns what the choice took, in microseconds."""
        self._now += 2.0 / self.size
        asked = self._asked[self._dice.randrange(CONVERSATIONS)]
        began = time.perf_counter()
        choice = self.policy.choose(asked, self._now)
        took = time.perf_counter() - began
        ticket = self.policy.sent(asked, choice.node.id, self._now)
        self.policy.first_byte(ticket, self._now)
        self._under_way.append(ticket)
        if len(self._under_way) > 2 * self.size:
            self.policy.finished(self._under_way.pop(0), SAID, self._now)
        return took * 1e6


def percentiles(size: int) -> tuple[float, float]:
    """The median and the 99th percentile of a choice among so many nodes, in microseconds."""
    cluster = Cluster(size)
    rounds = []
    for _ in range(ROUNDS):
        took = sorted(cluster.one_more() for _ in range(CHOICES))
        rounds.append((took[CHOICES // 2], took[CHOICES * 99 // 100]))
    return min(median for median, _ in rounds), min(tail for _, tail in rounds)


if __name__ == "__main__":
    for core in sys.argv[1:]:
        os.sched_setaffinity(0, {int(core)})
    said = {"choosing_6_us": percentiles(6)[0], "choosing_100_us": percentiles(100)[1]}
    sys.stdout.write(json.dumps(said))
