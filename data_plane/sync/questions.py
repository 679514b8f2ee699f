"""Answers what operators ask this instance through Redis, one question after another.

Away from the path: a question waits for its turn, of many the last are dropped, and whoever asked
is told by the control plane that nobody answered.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from data_plane.sync.subscriber import CALL_TIMEOUT_S
from shared import keys, questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics
    from shared.questions import Answer, Question

MAX_WAITING: Final = 16
GAP_S: Final = 0.05
"""Between two answers: an answer over a large cluster takes milliseconds of the loop."""


class Respondent:
    """Hears questions and answers those that are put to this instance."""

    def __init__(
        self,
        *,
        redis: Redis,
        instance: str,
        answer: Callable[[Question], Answer | None],
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._redis = redis
        self._instance = instance
        self._answer = answer
        self._log = log
        self._metrics = metrics
        self._waiting: asyncio.Queue[Question] = asyncio.Queue(MAX_WAITING)

    def hear(self, data: bytes) -> bool:
        """Whether this is a question. If it is put to us, it will be answered."""
        question = questions.decode_question(data)
        if question is None:
            return False
        if question.instance != self._instance:
            return True
        try:
            self._waiting.put_nowait(question)
        except asyncio.QueueFull:
            self._log.debug("question_dropped", question=question.id)
        return True

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            question = await self._waiting.get()
            answer = self._thought(question)
            if answer is not None:
                await self._tell(keys.answers(question.id), questions.encode(answer))
            await asyncio.sleep(GAP_S)

    def _thought(self, question: Question) -> Answer | None:
        """An answer; None, and a line in the log, when one question was too much for us."""
        try:
            return self._answer(question)
        except Exception as error:  # noqa: BLE001 - the questions after it are answered
            self._log.error("question_failed", error=error, question=question.id)
            return None

    async def _tell(self, key: str, data: bytes) -> None:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.rpush(key, data)
                    pipe.expire(key, keys.ANSWERS_TTL_S)
                    await pipe.execute()
        except (RedisError, OSError) as error:
            self._metrics.redis_error("answer")
            self._log.debug("answer_failed", reason=repr(error))
