"""/v1/audio/transcriptions through the proxy: reference 1.21 and 2."""

import aiohttp
import openai
import pytest
from fakes.ollama import FakeOllama

from shared.credentials import mint
from shared.snapshot import ApiKey

SOUND = b"RIFF" + bytes(range(256)) * 40


@pytest.mark.parametrize("size", [10_000, 6_000_000])
async def test_openais_sdk_transcribes(plane, size) -> None:
    """It names the model after the file; one of many nodes has it."""
    async with FakeOllama() as other, FakeOllama(models=["voxtral"]) as node:
        await plane.apply(other, node)
        url = plane.url("/v1")
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            made = client.audio.transcriptions
            sound = ("a.wav", b"x" * size)
            answer = await made.create(model="voxtral", file=sound)
            plain = await made.create(model="voxtral", file=sound, response_format="text")
            assert answer.text == f"{size} bytes of sound"
            assert plain.strip().endswith("bytes of sound")
            with pytest.raises(openai.NotFoundError, match="model 'gone' not found"):
                await made.create(model="gone", file=sound)
        assert not other.inference


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_model_may_stand_on_either_side(plane, is_first) -> None:
    async with FakeOllama(models=["voxtral"]) as node:
        await plane.apply(node)
        form = aiohttp.FormData()
        if is_first:
            form.add_field("model", "voxtral")
        form.add_field("file", SOUND, filename="a b.wav", content_type="audio/wav")
        if not is_first:
            form.add_field("model", "voxtral")
        async with plane.session.post(plane.url("/v1/audio/transcriptions"), data=form) as answer:
            assert answer.status == 200
            assert (await answer.json())["text"] == f"{len(SOUND)} bytes of sound"
        assert node.inference[0].header("Content-Type").startswith("multipart/form-data; boundary=")


async def test_another_node_is_tried(plane) -> None:
    async with FakeOllama(models=["voxtral"]) as first, FakeOllama(models=["voxtral"]) as second:
        await plane.apply(first, second)
        first.fault("reset")
        with plane.app.leases.take("n2", 0.0):
            form = aiohttp.FormData({"model": "voxtral"})
            form.add_field("file", SOUND, filename="a.wav")
            url = plane.url("/v1/audio/transcriptions")
            async with plane.session.post(url, data=form) as answer:
                assert answer.status == 200
                assert answer.headers["X-Aivonx-Attempts"] == "2"


async def test_a_key_is_judged_by_the_model_of_the_form(plane) -> None:
    alice = mint()
    allowed = ("registry.ollama.ai/library/llama3.2:*",)
    async with FakeOllama(models=["voxtral"]) as node:
        keys = (ApiKey(id=alice.id, sha256=alice.sha256, allowed_models=allowed),)
        await plane.apply(node, keys=keys)
        form = aiohttp.FormData({"model": "voxtral"})
        form.add_field("file", SOUND, filename="a.wav")
        async with plane.session.post(
            plane.url("/v1/audio/transcriptions"), data=form, headers={"x-api-key": alice.text}
        ) as answer:
            assert answer.status == 403
            assert (await answer.json())["error"]["code"] == "model_not_allowed"
        assert not node.inference


async def test_what_is_no_form_is_refused_in_openais_words(plane) -> None:
    async with FakeOllama(models=["voxtral"]) as node:
        await plane.apply(node)
        answer = await plane.post("/v1/audio/transcriptions", {"model": "voxtral"})
        assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_form")
        assert "multipart/form-data" in answer.json()["error"]["message"]
        assert not node.inference
