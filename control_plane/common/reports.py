"""What the data planes report about themselves, read from Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from shared import keys, reports

if TYPE_CHECKING:
    from redis import Redis

    from shared.reports import Report


@dataclass(frozen=True, slots=True)
class Instance:
    """A data-plane instance. `report` is None when it has gone silent or speaks another version."""

    name: str
    seen_at: float
    report: Report | None

    @property
    def is_live(self) -> bool:
        """Whether its counts may be counted."""
        return self.report is not None


def instances_read(client: Redis) -> list[Instance]:
    """Every instance that has reported within the last hour, by name. Raises RedisError."""
    since = time.time() - keys.INSTANCE_FORGET_S
    seen = cast(
        "list[tuple[bytes, float]]",
        client.zrangebyscore(keys.INSTANCES, since, "+inf", withscores=True),
    )
    if not seen:
        return []
    names = [name.decode(errors="replace") for name, _ in seen]
    texts = cast("list[bytes | None]", client.mget([keys.report(name) for name in names]))
    found = [
        Instance(name, seen_at, reports.decode(text) if text else None)
        for name, (_, seen_at), text in zip(names, seen, texts, strict=True)
    ]
    return sorted(found, key=lambda instance: instance.name)
