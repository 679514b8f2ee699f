"""A fake node as a process: killed, frozen, steered from outside."""

import urllib.error
import urllib.request

import ollama
import pytest
from fakes.process import OllamaProcess


def ask(node: OllamaProcess, prompt: str = "2 words") -> str:
    with ollama.Client(node.url, timeout=2.0) as client:
        return str(client.generate("llama3.2", prompt).response)


def test_it_is_killed_and_comes_back_on_its_port():
    with OllamaProcess(["llama3.2"], name="one") as node:
        url = node.url
        assert ask(node) == "word1 word2"
        node.kill()
        with pytest.raises(ConnectionError):
            ask(node)
        node.start()
        assert node.url == url
        assert ask(node, "hi").endswith("on one. You said: hi")
        assert node.terminate() == 0


def test_a_frozen_one_accepts_and_answers_when_it_thaws():
    with OllamaProcess(["llama3.2"]) as node:
        node.freeze()
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(f"{node.url}/api/version", timeout=0.3)
        node.thaw()
        assert ask(node) == "word1 word2"


def test_it_is_steered_and_tells_what_it_saw():
    with OllamaProcess(["llama3.2"], load_s=0.0, prefix="/a", health_route=True) as node:
        node.fault("busy", times=1)
        with pytest.raises(ollama.ResponseError) as caught:
            ask(node)
        assert caught.value.status_code == 503
        ask(node)
        seen = node.seen()
        assert (seen["finished"], seen["active"], seen["peak"]) == (2, 0, 1)
        assert seen["loaded"] == ["llama3.2:latest"]
        assert [request.path for request in node.requests()] == ["/a/api/generate"] * 2
        assert b'"prompt":"2 words"' in node.requests()[0].body.replace(b'": "', b'":"')
        after = node.steer(
            forget=True, add_models=["mistral"], remove_models=["llama3.2"], speed={"load_s": 1}
        )
        assert after["models"] == ["mistral:latest"]
        assert after["paths"] == {}
        assert after["loaded"] == []
        assert "requests" not in node.counts()


def test_a_bad_option_is_told_at_once():
    with pytest.raises(RuntimeError, match="did not start"):
        OllamaProcess(["llama3.2"], port=-1).start()
