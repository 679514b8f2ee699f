"""What a finished request teaches about its node, its model and the two together."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Final

from data_plane.routing.pair import moved, quantile

if TYPE_CHECKING:
    from data_plane.routing.events import Finished
    from data_plane.routing.learning import Learned
    from data_plane.routing.pair import Pair
    from data_plane.routing.place import Flight

LOAD_WORTH_NOTING_S: Final = 0.5
"""A resident model "loads" within milliseconds."""

FEW_TOKENS: Final = 48
"""A prompt shorter than this is read before the clock has moved."""

SMALL_HIT: Final = 0.1

LATE_S: Final = 0.5
"""A first byte that is later than this, and twice as late as foreseen, is late."""

SHORTEST_S: Final = 1e-3
"""What is shorter is not told apart."""


def learn(learned: Learned, flight: Flight, finished: Finished, now: float) -> float | None:
    """Take in a whole answer. Returns the error of the prediction as log(actual / predicted) of
    the time to the first byte, or None when that is unknown.
    """
    pair = learned.pair(flight.node_id, flight.key)
    pair.count += 1
    pair.last_at = now
    _learn_habits(learned, flight, finished)
    if flight.is_cold:
        _learn_load(pair, flight, finished)
    else:
        _learn_queue(pair, flight, finished)
    _learn_prompt(pair, flight, finished)
    _learn_steps(pair, flight, finished, now)
    actual_s = _first_s(flight, finished)
    error = None
    if actual_s is not None:
        waited_s = max(flight.wait_s, flight.load_s)
        pair.first_byte_s = moved(pair.first_byte_s, max(actual_s - waited_s, 0.0), 0.3)
        if not flight.is_cold:
            pair.saw_error(actual_s, flight.ttft_s)
        error = log(actual_s / max(flight.ttft_s, SHORTEST_S))
    learned.changed(flight.node_id, flight.key)
    return error


def _first_s(flight: Flight, finished: Finished) -> float | None:
    """From sending to the first token. What is not streamed does not show it; the record may."""
    if not flight.arrival.is_streamed:
        if finished.total_s is None or finished.eval_s is None:
            return None
        return max(finished.total_s - finished.eval_s, SHORTEST_S)
    if flight.first_at is None:
        return None
    return max(flight.first_at - flight.sent_at, SHORTEST_S)


def _learn_habits(learned: Learned, flight: Flight, finished: Finished) -> None:
    estimated, told = flight.arrival.prompt_tokens, finished.prompt_tokens
    learned.of_model(flight.key).saw(
        factor=told / estimated if told and estimated > 0 else None,
        prompt=told,
        output=finished.eval_tokens,
    )


def _learn_load(pair: Pair, flight: Flight, finished: Finished) -> None:
    """Of loads with nothing before them: the queue of the loader is in no field."""
    if finished.load_s is not None and finished.load_s > LOAD_WORTH_NOTING_S and flight.was_alone:
        pair.load_s = moved(pair.load_s, finished.load_s, 0.3)


def _learn_queue(pair: Pair, flight: Flight, finished: Finished) -> None:
    """The wait for a slot stands in no field: it is what the others leave of the whole."""
    if finished.total_s is None or finished.prompt_s is None or finished.eval_s is None:
        _learn_queue_by_eye(pair, flight)
        return
    spent_s = (finished.load_s or 0.0) + finished.prompt_s + finished.eval_s
    pair.saw_queue(flight.ahead, max(finished.total_s - spent_s, 0.0))


def _learn_queue_by_eye(pair: Pair, flight: Flight) -> None:
    """Compatible routes say no durations. Answers that are written together have a slot each; one
    that begins late, and only after another has ended, has waited for its slot.
    """
    if flight.first_at is None:
        return
    pair.saw_queue(flight.beside, 0.0)
    foreseen_s = flight.ttft_s - flight.wait_s
    late_s = flight.first_at - flight.sent_at - foreseen_s
    if flight.beside < flight.ahead and late_s > max(LATE_S, foreseen_s):
        pair.saw_queue(flight.ahead, late_s)


def _learn_prompt(pair: Pair, flight: Flight, finished: Finished) -> None:
    tokens = finished.prompt_tokens or flight.tokens
    if tokens < FEW_TOKENS:
        return
    cached = finished.cached_tokens
    seconds = finished.prompt_s
    if seconds is None and not flight.is_cold and flight.was_alone:
        seconds = _first_s(flight, finished)  # compatible routes say no durations
    _learn_hit(pair, flight, cached, seconds, tokens)
    # Of a hit whose size nobody says, the time says nothing of the speed.
    is_hit = max(flight.hit, flight.common[0]) >= SMALL_HIT
    fresh = tokens - cached if cached is not None else 0 if is_hit else tokens
    if seconds and fresh >= FEW_TOKENS:
        pair.saw_prefill(fresh / seconds)


def _learn_hit(
    pair: Pair, flight: Flight, cached: int | None, seconds: float | None, tokens: float
) -> None:
    """How much of what was expected to be cached was: as the node says, or by the time it took."""
    if cached is not None:
        measured = cached / tokens
    elif seconds and pair.prefill and flight.was_alone:
        measured = 1.0 - seconds * quantile(pair.prefill, 0.8) / tokens
    else:
        return
    measured = min(max(measured, 0.0), 1.0)
    flight.found = measured
    if flight.hit > SMALL_HIT:
        pair.trust = moved(pair.trust, min(measured / flight.hit, 1.0), 0.05)


def _learn_steps(pair: Pair, flight: Flight, finished: Finished, now: float) -> None:
    tokens, seconds = finished.eval_tokens, finished.eval_s
    if not tokens or tokens < 2:  # noqa: PLR2004 - one token is no interval
        return
    if seconds is None and flight.arrival.is_streamed and flight.first_at is not None:
        seconds = now - flight.first_at
    elif seconds is None and not flight.is_cold and flight.was_alone:
        seconds = now - flight.sent_at - flight.ttft_s  # what reading should have left
    if seconds and seconds > 0:
        pair.saw_steps(seconds / tokens, max(float(flight.together), 1.0))
