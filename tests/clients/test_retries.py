"""What the SDKs do by themselves when every node is busy: they wait as long as they are told."""

import time
from dataclasses import dataclass, field

import anthropic
import httpx2
import openai
import pytest

HELLO = [{"role": "user", "content": "1 words"}]


@dataclass
class Waits:
    """Hooks of an SDK's HTTP client: what it was told, and how long it then stayed away."""

    told_s: list[float] = field(default_factory=list)
    stayed_s: list[float] = field(default_factory=list)
    _refused_at: float | None = None

    def asked(self, request: httpx2.Request) -> None:
        if self._refused_at is not None:
            self.stayed_s.append(time.monotonic() - self._refused_at)

    def answered(self, answer: httpx2.Response) -> None:
        if answer.status_code == 503:
            self.told_s.append(float(answer.headers["Retry-After"]))
            self._refused_at = time.monotonic()

    def hooks(self):
        return {"request": [self.asked], "response": [self.answered]}


@pytest.fixture
def waits():
    return Waits()


def with_openai(address: str, waits: Waits) -> str | None:
    http = openai.DefaultHttpxClient(event_hooks=waits.hooks())
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", http_client=http) as client:
        answer = client.chat.completions.create(model="fragile", messages=HELLO)
    return answer.choices[0].message.content


def with_anthropic(address: str, waits: Waits) -> str | None:
    http = anthropic.DefaultHttpxClient(event_hooks=waits.hooks())
    with anthropic.Anthropic(base_url=address, api_key="any", http_client=http) as client:
        answer = client.messages.create(model="fragile", max_tokens=9, messages=HELLO)
    return answer.content[0].text


@pytest.mark.parametrize(
    ("ask", "path"), [(with_openai, "/v1/chat/completions"), (with_anthropic, "/v1/messages")]
)
def test_it_comes_back_after_the_time_it_was_told(system, fragile, waits, ask, path):
    # Only there: a health check that comes in between would use the one fault up.
    fragile.fault("busy", path=path, times=1)
    assert ask(system.proxy, waits) == "word1"
    assert len(waits.told_s) == 1
    assert waits.stayed_s[0] >= waits.told_s[0] >= 1
