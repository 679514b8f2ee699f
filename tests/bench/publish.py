"""Publish a fleet for one data plane. Run with PYTHONPATH at the tree of that data plane.

    publish.py REDIS_URL SNAPSHOT_KEY MODELS PORT...

One node per port, each holding all MODELS models; "m" is one of them. Prints the API key to use.
So a snapshot is always sealed by the code that will open it.
"""

from __future__ import annotations

import sys
import time

import redis

from shared import credentials, keys, wire
from shared.model_names import canonical_name
from shared.snapshot import ApiKey, AvailableModel, Model, Node, ProxyConfig, Snapshot, Verdict

MODIFIED_AT = "2026-01-01T00:00:00Z"


def main(redis_url: str, snapshot_key: str, models: str, *ports: str) -> None:
    """Seal and set."""
    key = credentials.mint()
    snapshot = fleet(int(models), [int(port) for port in ports], key)
    client = redis.Redis.from_url(redis_url)
    client.set(keys.SNAPSHOT, wire.seal(snapshot, snapshot_key.encode()))
    client.close()
    sys.stdout.write(key.text + "\n")


def fleet(models: int, ports: list[int], key: credentials.MintedKey) -> Snapshot:
    """Every node healthy, every model everywhere, one key that may do anything."""
    names = ["m:latest", *(f"other-{number}:latest" for number in range(1, models))]
    available = tuple(AvailableModel(number, MODIFIED_AT) for number in range(models))
    return Snapshot(
        epoch=f"bench-{time.time_ns()}",
        revision=1,
        built_at=time.time(),
        config=ProxyConfig(),
        models=tuple(
            Model(name=name, canonical=canonical_name(name), digest=f"{number:064x}", size_bytes=1)
            for number, name in enumerate(names)
        ),
        nodes=tuple(
            Node(
                id=f"node-{number}",
                name=f"node-{number}",
                address=f"http://127.0.0.1:{port}",
                verdict=Verdict.HEALTHY,
                version="0.33.0",
                available=available,
            )
            for number, port in enumerate(ports)
        ),
        keys=(ApiKey(id=key.id, sha256=key.sha256),),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
