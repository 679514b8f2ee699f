"""An operator's question, through a real Valkey, to the instance that it is put to."""

import signal
from itertools import count

from fakes.snapshots import make_snapshot

from shared import keys, questions, wire
from shared.questions import MAX_QUESTION_BYTES, Answer, Outcome, Question

KEY = b"a snapshot key of enough bytes"
ID = "0123456789abcdef" * 2


async def started(make_plane, engine):
    sealed = wire.seal(make_snapshot({"a": ["llama3"]}), KEY)
    engine.client.set(keys.SNAPSHOT, sealed)
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_INSTANCE="one")
    await plane.until(lambda: plane.lines("redis_subscribed"))
    return plane


def ask(engine, number: int = 0, instance: str = "one") -> str:
    question = Question(id=f"{number:032x}", instance=instance, model="llama3")
    engine.client.publish(keys.HINTS, questions.encode(question))
    return keys.answers(question.id)


def answered(engine, key: str) -> Answer | None:
    data = engine.client.lindex(key, 0)
    return questions.decode_answer(data) if data else None


async def test_a_question_is_answered_and_the_answer_expires(make_plane, engine) -> None:
    plane = await started(make_plane, engine)
    key = ask(engine)
    await plane.until(lambda: answered(engine, key))
    said = answered(engine, key)
    assert (said.instance, said.outcome, said.node_id) == ("one", Outcome.SENT, "a")
    assert 0 < engine.client.ttl(key) <= keys.ANSWERS_TTL_S


async def test_a_question_that_is_too_much_is_logged_and_the_next_is_answered(
    make_plane, engine
) -> None:
    plane = await started(make_plane, engine)
    foresight, plane.app.foresight = plane.app.foresight, None
    ask(engine, 1)
    await plane.until(lambda: plane.lines("question_failed"))
    plane.app.foresight = foresight
    key = ask(engine, 2)
    await plane.until(lambda: answered(engine, key))
    assert not plane.lines("task_failed")


async def test_others_and_what_is_no_question_are_left_alone(make_plane, engine) -> None:
    plane = await started(make_plane, engine)
    engine.client.publish(keys.HINTS, b"{")
    engine.client.publish(keys.HINTS, b" " * (MAX_QUESTION_BYTES + 1))
    other = ask(engine, 1, "two")
    key = ask(engine, 2)
    await plane.until(lambda: answered(engine, key))
    assert answered(engine, other) is None


async def test_a_redis_that_freezes_at_the_answer_takes_nothing_with_it(make_plane, engine) -> None:
    plane = await started(make_plane, engine)
    first = ask(engine, 1)
    engine.signal(signal.SIGSTOP)
    assert (await plane.get("/api/version")).status == 200
    engine.signal(signal.SIGCONT)
    numbers, asked = count(2), [first]

    def is_one_answered() -> bool:
        """Those that were asked while the connection was lost are not."""
        asked.append(ask(engine, next(numbers)))
        return any(answered(engine, key) for key in asked)

    await plane.until(is_one_answered)
