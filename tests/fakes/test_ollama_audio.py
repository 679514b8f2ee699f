"""The transcription route of the fake, through OpenAI's own client and on the wire."""

import aiohttp
import openai
import pytest

SOUND = bytes(range(256)) * 8 + b"\r\n--not a boundary\r\n\r\n"


async def test_a_transcription_answers_in_the_wanted_format(openai_client):
    transcriptions = openai_client.audio.transcriptions
    sound = ("speech.wav", SOUND)
    answer = await transcriptions.create(model="voxtral", file=sound)
    assert answer.text == f"{len(SOUND)} bytes of sound"
    plain = await transcriptions.create(model="voxtral", file=sound, response_format="text")
    assert plain.strip() == answer.text


async def test_the_model_may_come_after_the_file(node, http):
    form = aiohttp.FormData()
    form.add_field("file", SOUND, filename="speech.wav")
    form.add_field("model", "voxtral")
    async with http.post(f"{node.url}/v1/audio/transcriptions", data=form) as answer:
        assert await answer.json() == {"text": f"{len(SOUND)} bytes of sound"}


async def test_what_cannot_be_heard_is_refused(node, http, openai_client):
    transcriptions = openai_client.audio.transcriptions
    with pytest.raises(openai.BadRequestError, match="does not support audio"):
        await transcriptions.create(model="llama3.2", file=("speech.wav", SOUND))
    with pytest.raises(openai.NotFoundError, match="model 'gone' not found"):
        await transcriptions.create(model="gone", file=("speech.wav", SOUND))
    url = f"{node.url}/v1/audio/transcriptions"
    async with http.post(url, json={"model": "voxtral"}) as answer:
        assert answer.status == 400
    async with http.post(url, data=aiohttp.FormData({"model": "voxtral"})) as answer:
        assert answer.status == 400
