"""Token counts and arrivals as they were measured in released traces.

Quantiles of two datasets, drawn from by inverting the (piecewise linear) distribution, which fits
better than any of the usual curves:

* CONVERSATION and CODE: "AzureLLMInferenceDataset2023", Microsoft Azure, CC-BY 4.0,
  github.com/Azure/AzurePublicDataset (19,366 and 8,819 requests).
* LONG: "Mooncake conversation trace", Moonshot AI, Apache 2.0, github.com/kvcache-ai/Mooncake
  (12,031 requests), cut at 16,000 tokens, which is what nodes of this size are run with at most.

CHAT_TURN and SHORT are made up: what a person types next, and a question without a history.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class Quantiles:
    """Token counts at SHARES."""

    values: tuple[float, ...]

    def draw(self, dice: random.Random) -> int:
        """One token count, at least 1."""
        share = dice.random()
        upper = min(bisect_right(SHARES, share), len(SHARES) - 1)
        low, high = SHARES[upper - 1], SHARES[upper]
        part = (share - low) / (high - low)
        return max(1, round(self.values[upper - 1] * (1 - part) + self.values[upper] * part))


CONVERSATION_IN = Quantiles((60, 181, 396, 1_020, 1_189, 2_734, 4_142, 6_000))
CONVERSATION_OUT = Quantiles((15, 41, 85, 129, 395, 424, 601, 900))
CODE_IN = Quantiles((20, 75, 578, 1_469, 2_744, 5_188, 7_436, 7_800))
CODE_OUT = Quantiles((3, 6, 9, 13, 24, 55, 251, 700))
LONG_IN = Quantiles((300, 901, 2_306, 6_909, 15_367, 16_000, 16_000, 16_000))
LONG_OUT = Quantiles((4, 10, 156, 350, 472, 597, 1_119, 1_600))
CHAT_TURN = Quantiles((4, 8, 20, 45, 120, 260, 800, 1_500))
SHORT_IN = Quantiles((8, 15, 30, 60, 150, 300, 900, 1_500))
