"""Five times what can be served: what can be served is, and the rest is told so at once.

The bounds are those of a busy machine that measures itself; figures of a quieter one stand in
`data_plane/README.md`. `pytest -s` prints those of the run.
"""

import asyncio

import msgspec
import pytest
from fakes.ollama import FakeOllama
from fakes.surge import Outcomes, Surge

from shared.credentials import mint
from shared.snapshot import ApiKey, ProxyConfig, Strategy

from .conftest import snapshot_of
from .test_process import start

__all__ = ["start"]  # a fixture of another module

CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}], "stream": False}
SLOTS = 10
TOKENS_PER_S = 40.0
"""Of the fake: an answer takes 0.2 s, ten slots serve 50 requests a second."""

OVER = 5.0
WARM_S = 0.5


def told_at_once(found: Outcomes, status: int) -> None:
    """Nobody is broken off, everybody who is refused knows when to come back, and soon."""
    print(found.statuses, [found.refused_within(share) for share in (0.5, 0.99)])
    assert found.statuses.keys() == {200, status}
    assert found.broken == found.without_wait == 0
    assert found.refused_within(0.5) < 0.2
    assert found.refused_within(0.99) < 1.0


BY_LIMIT = ({}, {"AIVONX_MAX_ACTIVE": str(SLOTS)})
BY_QUEUE = ({"strategy": Strategy.PREDICTED, "max_waiting": SLOTS}, {})


@pytest.mark.parametrize(("config", "environ"), [BY_LIMIT, BY_QUEUE], ids=["limit", "queue"])
async def test_five_times_what_can_be_served_takes_nothing_from_what_is(
    start, config, environ
) -> None:
    """F38."""
    async with FakeOllama(tokens_per_s=TOKENS_PER_S, num_parallel=SLOTS) as node:
        snapshot = await snapshot_of([node], config=ProxyConfig(**config))
        known = tuple(msgspec.structs.replace(each, max_parallel=SLOTS) for each in snapshot.nodes)
        process = await start(msgspec.structs.replace(snapshot, nodes=known), **environ)
        crowd = Surge(process.port, "/api/chat", CHAT)
        await crowd.at_once(2, 0.5)
        peak = (await crowd.at_once(SLOTS, 3.0)).goodput(WARM_S)
        before = len(node.inference)
        found = await crowd.at_rate(OVER * peak, 4.0)
        told_at_once(found, 503)
        assert found.goodput(WARM_S) > 0.75 * peak
        assert found.sent > 3 * len(found.served_at)
        assert len(node.inference) - before == len(found.served_at), (
            "refused, and asked all the same"
        )


async def test_one_key_that_floods_takes_nothing_from_another(start) -> None:
    """F39."""
    hog, other = mint(), mint()
    keys = (
        ApiKey(id=hog.id, sha256=hog.sha256, max_active=SLOTS // 2),
        ApiKey(id=other.id, sha256=other.sha256),
    )
    async with FakeOllama(tokens_per_s=TOKENS_PER_S, num_parallel=SLOTS) as node:
        snapshot = await snapshot_of([node], config=ProxyConfig())
        process = await start(msgspec.structs.replace(snapshot, keys=keys))
        flood, quiet = (
            Surge(process.port, "/api/chat", CHAT, {"Authorization": f"Bearer {key.text}"})
            for key in (hog, other)
        )
        await quiet.at_once(2, 0.5)
        alone = (await quiet.at_once(SLOTS // 2, 3.0)).goodput(WARM_S)
        async with asyncio.TaskGroup() as group:
            flooding = group.create_task(flood.at_rate(OVER * alone, 4.0))
            beside = group.create_task(quiet.at_once(SLOTS // 2, 4.0))
        told_at_once(flooding.result(), 429)
        assert beside.result().statuses.keys() == {200}
        assert beside.result().goodput(WARM_S) > 0.75 * alone
