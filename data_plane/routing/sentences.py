"""Why a node was chosen, in a sentence that an operator reads."""

from __future__ import annotations

from typing import Final

from data_plane.routing.events import Reason

SENTENCES: Final[dict[Reason, str]] = {
    Reason.ONLY: "it is the only node that can be chosen",
    Reason.LEAST_ACTIVE: "it has the fewest active requests for its weight",
    Reason.LOWEST_LATENCY: "its first byte is expected soonest",
    Reason.UNKNOWN_LATENCY: "how soon it answers is unknown, and it is tried to learn that",
    Reason.PREDICTED: "the whole answer is predicted to cost least there",
    Reason.PREFIX: "it has the beginning of the prompt in its cache, and is hardly slower",
    Reason.EXPLORED: "nothing was heard of it for long, and the request is small",
    Reason.ALL_FULL: "every node works on as much as it can, and it has the fewest for its weight",
    Reason.DRIFTED: "no holder of the version that is served can be chosen, so another version is",
    Reason.PANIC: "no node is left but those that an old verdict keeps out",
}
HELD: Final = "every slot that fits is taken, and waiting for one beats every other node"
BEHIND: Final = "others wait for this model already, and go first"
NO_NODE: Final = "nodes have the model, and none of them can be used now"
UNKNOWN_MODEL: Final = "no node has the model; pull it, or check its name"
