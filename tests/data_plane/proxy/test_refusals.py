"""A node that does not take our credential, and models of the cloud, which no node has to list."""

import pytest
from fakes.ollama import FakeOllama

from shared.codes import SENTENCES, ErrorCode

CLOUD = "llama3.2:cloud"
"""The fake finds it by its name without the suffix, when it is signed in."""


async def test_another_node_is_asked_when_one_denies_us(plane) -> None:
    """F15: a client whose key is good is never told that it is not."""
    async with FakeOllama() as denies, FakeOllama() as serves:
        await plane.apply(denies, serves)
        denies.node.token = "changed"
        for _ in range(2):
            with plane.app.leases.take("n2", 0.0):
                assert (await plane.chat()).status == 200
        assert len(denies.inference) == 1  # passed over for a moment: it is idle, and looks good
        assert len(serves.inference) == 2


@pytest.mark.parametrize(
    ("path", "body", "found"),
    [
        ("/api/generate", {"prompt": "hi"}, lambda answer: answer["error"]),
        ("/v1/chat/completions", {"messages": []}, lambda answer: answer["error"]["message"]),
        ("/v1/messages", {"messages": []}, lambda answer: answer["error"]["message"]),
    ],
)
async def test_when_every_node_denies_us_the_operator_is_pointed_at_it(
    plane, path, body, found
) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        node.node.token = "changed"
        answer = await plane.post(path, {"model": "llama3.2", **body})
        assert answer.status == 502
        assert found(answer.json()) == SENTENCES[ErrorCode.NODE_DENIED]
        line = await plane.line()
        assert (line["code"], line["outcome"]) == ("node_denied", "node_error")
        assert line["detail"] == "node-1 answered 401"


async def test_a_model_of_the_cloud_goes_to_a_node_that_is_signed_in(plane) -> None:
    async with FakeOllama() as out, FakeOllama(signed_in=True) as signed_in:
        await plane.apply(out, signed_in)
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.chat(model=CLOUD)
        assert (answer.status, answer.headers["X-Aivonx-Node"]) == (200, "node-2")
        assert len(out.inference) == 1


async def test_when_no_node_is_signed_in_ollamas_own_word_is_relayed(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as two:
        await plane.apply(one, two)
        answer = await plane.chat(model=CLOUD)
        assert answer.status == 401
        assert answer.json()["error"] == "unauthorized"
        assert answer.json()["signin_url"].startswith("https://ollama.com/connect?")
        assert len(one.inference) == len(two.inference) == 1


async def test_where_the_cloud_is_disabled_is_said_by_the_node(plane) -> None:
    async with FakeOllama(signed_in=True) as node:
        await plane.apply(node)
        text = "ollama cloud is disabled: remote model is unavailable"
        node.fault("status", status=403, text=text)
        answer = await plane.chat(model=CLOUD)
        assert (answer.status, answer.json()["error"]) == (403, text)


async def test_a_model_that_the_cloud_does_not_know_is_not_found_once(plane) -> None:
    """Nothing is remembered of names that clients make up."""
    async with FakeOllama(signed_in=True) as one, FakeOllama(signed_in=True) as two:
        await plane.apply(one, two)
        answer = await plane.chat(model="nope:120b-cloud")
        assert (answer.status, answer.json()["error"]) == (404, "model 'nope:120b-cloud' not found")
        assert len(one.inference) + len(two.inference) == 1
        assert not plane.app.findings.speaks_against("registry.ollama.ai/library/nope:120b-cloud")


async def test_an_old_node_knows_no_cloud(plane) -> None:
    async with FakeOllama(version="0.17.5") as old:
        await plane.apply(old)
        answer = await plane.chat(model=CLOUD)
        assert (answer.status, answer.json()["code"]) == (404, "model_not_found")
        assert not old.inference
