"""What clients saw, held against what the data plane wrote of it: every request accounted for.

A client notes how each of its requests ended, by request id. The access lines must say the same:
one line for each request and none besides, with the status that the client got and an outcome that
is possible for that end. Nothing that broke may count as served.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Windows = Sequence[tuple[float, float]]

MAX_SHOWN: Final = 5
NEVER: Final = frozenset({"silent", "undocumented", "hung", "connection", "unreachable"})
"""Ends that no request may have; the last two only while its data plane was itself being hit."""

UNWRITTEN_S: Final = 0.5
"""Access lines are gathered for 0.1 s: those of its last moment die with a killed worker."""

CUT: Final = frozenset({"connection", "unreachable", "broken"})
"""What the death of a worker may do to a client; its access line dies with it."""

_BROKEN: Final = frozenset({"truncated", "node_error", "node_timeout", "drained"})
_OUTCOMES: Final = {
    "stream": frozenset({"ok"}),
    "whole": frozenset({"ok"}),
    "broken": _BROKEN,
    "broken visibly": _BROKEN,
    "left": _BROKEN | {"client_abort", "ok"},
    "refused": frozenset({"rejected"}),
    "502": _BROKEN,
    "503": frozenset({"shed", "node_error"}),
    "504": frozenset({"node_timeout"}),
}
"""What the log may say of a request that ended so."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended for its client."""

    kind: str
    status: int
    at: float
    """Monotonic seconds."""


def faults_in(
    asked: Mapping[str, Ended], log: Iterable[bytes], hit: Windows = (), killed: Windows = ()
) -> list[str]:
    """Everything that does not fit, at most MAX_SHOWN of a kind.

    `hit` are the times (from, to) in which workers of this data plane were killed or restarted,
    `killed` those in which they were killed.
    """
    faults: dict[str, list[str]] = {}
    lines = access_lines(log)
    times = Counter(line["request_id"] for line in lines)
    for request_id, ended in asked.items():
        if is_excused(ended, hit):
            continue
        if ended.kind in NEVER:
            faults.setdefault(f"ended as {ended.kind}", []).append(request_id)
        if times[request_id] != 1 and not (times[request_id] == 0 and is_unwritten(ended, killed)):
            what = f"{times[request_id]} access lines for one request"
            faults.setdefault(what, []).append(f"{request_id} ({ended.kind})")
    for line in lines:
        what = _mismatch(line, asked.get(line["request_id"]))
        if what:
            faults.setdefault(what, []).append(line["request_id"])
    return [
        f"{what}: {len(ids)} times, as {', '.join(ids[:MAX_SHOWN])}" for what, ids in faults.items()
    ]


def access_lines(log: Iterable[bytes]) -> list[dict[str, Any]]:
    """The access lines of a log, in order."""
    return [json.loads(line) for line in log if b'"event":"request"' in line]


def is_excused(ended: Ended, hit: Windows) -> bool:
    """Whether the death of a worker explains it."""
    return ended.kind in CUT and any(begin <= ended.at <= end for begin, end in hit)


def is_unwritten(ended: Ended, killed: Windows) -> bool:
    """Whether the access line may have died with its worker."""
    return any(begin - UNWRITTEN_S <= ended.at <= end for begin, end in killed)


def _mismatch(line: dict[str, Any], ended: Ended | None) -> str:
    """What is wrong between a line and its client's word; "" when they agree."""
    if ended is None:
        return "a line of a request that nobody sent"
    if ended.status and line["status"] != ended.status:
        return f"status {line['status']} in the log, {ended.status} at the client"
    outcome = line["outcome"]
    possible = _OUTCOMES.get(ended.kind)
    if possible is not None and outcome not in possible:
        return f"{ended.kind} at the client, {outcome} in the log"
    return ""
