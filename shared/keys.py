"""Every Redis key, channel and lifetime. Nobody else spells one."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "aivonx:"

SNAPSHOT: Final = PREFIX + "snapshot"
"""The whole state in sealed bytes (`wire.seal`). Never expires; missing does not mean empty."""

HINTS: Final = PREFIX + "hints"
"""Pub/sub channel; carries `wire.Hint`, never state; and now and then a `questions.Question`, which
is a hint to a reader that knows none, so that it looks once in vain. Whoever may follow the
snapshot hears both: another channel would take a right that an older installation has not given."""

ANSWERS_TTL_S: Final = 10
"""Of the answers to one question: whoever asked has long gone by then."""

INSTANCES: Final = PREFIX + "instances"
"""Sorted set: data-plane instance -> unix time of its last report. Members outlive their report
by `INSTANCE_FORGET_S`, so that an operator sees who went silent."""

LATENCIES: Final = PREFIX + "latencies"
"""Hash: node id -> latency in seconds, written by the health sweep."""

SWEEP_FINISHED_AT: Final = PREFIX + "sweep:finished_at"
"""Unix time at which the last health sweep finished; the supervisor's watchdog reads it."""

STALE_INVENTORY: Final = PREFIX + "nodes:stale_inventory"
"""Set of node ids whose models a data plane has just changed, or found changed. `SADD` the id and
`EXPIRE` the key by `STALE_INVENTORY_TTL_S`; the next tick of the model refresh (every 2 s) takes
what is there and looks at those nodes. It holds each node once, so it is no larger than the number
of nodes, and a set that no worker takes is gone after its lifetime."""

STALE_INVENTORY_TTL_S: Final = 600
"""By then the regular refresh (60 s by default) has long looked at every node."""

REDBEAT_PREFIX: Final = PREFIX + "redbeat:"
CELERY_QUEUE: Final = "aivonx"

REPORT_TTL_S: Final = 15
"""A report older than this is a dead instance: its active counts must not weigh on anyone."""

INSTANCE_FORGET_S: Final = 3_600
"""How long a silent instance stays visible in the state."""

FLIGHTS_TTL_S: Final = 3
"""What an instance has under way is known for no longer, or it would be believed of a dead one."""

LEARNED_TTL_S: Final = INSTANCE_FORGET_S
"""Learned numbers are those of nodes, and outlive who left them; as long as their name is known."""


def report(instance: str) -> str:
    """The key under which one data-plane instance keeps its report."""
    return f"{PREFIX}report:{instance}"


def flights(instance: str) -> str:
    """The key under which one data-plane instance keeps what it has under way."""
    return f"{PREFIX}flights:{instance}"


def learned(instance: str) -> str:
    """The key under which one data-plane instance leaves the numbers that it has learned."""
    return f"{PREFIX}learned:{instance}"


def answers(question: str) -> str:
    """The list that holds what was answered to one question. Always set with a time to live."""
    return f"{PREFIX}answers:{question}"


def claim(task: str) -> str:
    """The key that keeps a task from overlapping itself. Always set with a time to live."""
    return f"{PREFIX}claim:{task}"
