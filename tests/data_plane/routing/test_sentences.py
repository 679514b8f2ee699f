from __future__ import annotations

from data_plane.routing.events import Reason
from data_plane.routing.sentences import SENTENCES


def test_every_reason_has_a_sentence() -> None:
    assert SENTENCES.keys() == set(Reason)
    assert len(set(SENTENCES.values())) == len(SENTENCES)
