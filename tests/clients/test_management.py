"""Pulling, creating, copying and deleting models with Ollama's own clients, on the whole system.

What a client sees is what one Ollama server would show; where it happens is what the nodes say.
"""

import ollama
import pytest
from fakes.installation import APPLY_S
from fakes.javascript import OllamaInNode, ThrownError
from fakes.processes import eventually

WORD = [{"role": "user", "content": "1 words"}]
WEIGHTS = b"GGUF" + bytes(range(256)) * 4_096
"""A megabyte: more than is kept in memory of one read, and cut into many."""


@pytest.fixture
def client(system):
    with ollama.Client(system.proxy, timeout=30) as native:
        yield native


@pytest.fixture(scope="module")
def js(system, node_modules):
    return OllamaInNode(node_modules, host=system.proxy)


@pytest.fixture
def brief(system):
    """Names of models that a test makes; none is left on any node."""
    names: list[str] = []
    yield names
    with ollama.Client(system.proxy) as native:
        for name in names:
            if name in listed(native):
                native.delete(name)


def listed(client: ollama.Client) -> set[str]:
    return {model.model or "" for model in client.list().models}


def holders(system, name: str) -> set[str]:
    """The nodes that have it, as they say themselves."""
    return {node for node, process in system.nodes.items() if name in process.counts()["models"]}


def await_listed(client: ollama.Client, name: str) -> None:
    eventually(f"{name} is listed", lambda: name in listed(client), APPLY_S)


def await_gone(client: ollama.Client, name: str) -> None:
    eventually(f"{name} is listed no more", lambda: name not in listed(client), APPLY_S)


def test_it_pulls_with_progress(system, client, brief):
    brief.append("tinyllama:latest")
    records = list(client.pull("tinyllama", stream=True))
    assert records[0].status == "pulling manifest"
    assert [record.status for record in records].count("success") == 1
    assert records[-1].status == "success"
    layers: dict[str, list[int]] = {}
    for record in records:
        if record.digest:
            assert record.total
            layers.setdefault(record.digest, []).append(record.completed or 0)
            assert layers[record.digest][-1] <= record.total
    assert layers
    for progress in layers.values():
        assert progress == sorted(progress), "progress that goes back"
    assert holders(system, "tinyllama:latest")
    await_listed(client, "tinyllama:latest")
    assert client.chat("tinyllama", WORD).message.content == "word1"


def test_it_pulls_in_one_piece(system, client, brief):
    brief.append("mistral:instruct")
    assert client.pull("mistral:instruct").status == "success"
    assert holders(system, "mistral:instruct")


def test_a_model_that_no_registry_has_is_an_error_in_the_stream(client):
    records = client.pull("no-such-model", stream=True)
    assert next(records).status == "pulling manifest"
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        list(records)
    with pytest.raises(ollama.ResponseError, match="file does not exist") as caught:
        client.pull("no-such-model")
    assert caught.value.status_code == 500


def test_it_creates_from_a_file(system, client, brief, tmp_path):
    brief.append("from-a-file:latest")
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(WEIGHTS)
    digest = client.create_blob(weights)
    assert client.create_blob(weights) == digest, "a blob that is there already"
    records = list(client.create("from-a-file", files={"weights.gguf": digest}, stream=True))
    assert records[-1].status == "success"
    assert holders(system, "from-a-file:latest")
    await_listed(client, "from-a-file:latest")
    assert client.generate("from-a-file", "1 words").response == "word1"


async def test_it_creates_from_a_file_asynchronously(system, brief, tmp_path):
    """The asynchronous client sends the file in chunks, without saying how long it is."""
    brief.append("from-chunks:latest")
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(WEIGHTS[::-1])
    async with ollama.AsyncClient(system.proxy) as client:
        digest = await client.create_blob(weights)
        done = await client.create("from-chunks", files={"weights.gguf": digest})
    assert done.status == "success"
    assert holders(system, "from-chunks:latest")


def test_it_creates_from_a_model(client, brief):
    brief.append("polite:latest")
    done = client.create("polite", from_="llama3.2", system="Be polite.")
    assert done.status == "success"
    await_listed(client, "polite:latest")
    assert client.show("polite").modelinfo


def test_a_blob_that_is_not_there_is_refused(client):
    with pytest.raises(ollama.ResponseError) as caught:
        client.create("nothing", files={"weights.gguf": f"sha256:{'0' * 64}"})
    assert caught.value.status_code == 400


def test_it_copies_and_deletes_wherever_the_model_is(system, client, brief):
    brief.append("twin:latest")
    assert client.copy("llama3.2", "twin").status == "success"
    assert holders(system, "twin:latest") == holders(system, "llama3.2:latest")
    await_listed(client, "twin:latest")
    assert client.chat("twin", WORD).message.content == "word1"
    assert client.delete("twin").status == "success"
    assert not holders(system, "twin:latest")
    await_gone(client, "twin:latest")
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        client.show("twin")
    assert caught.value.status_code == 404


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.copy("gone", "other"),
        lambda client: client.delete("gone"),
        lambda client: client.show("gone"),
    ],
)
def test_what_no_node_has_is_a_404(client, ask):
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        ask(client)
    assert caught.value.status_code == 404


def test_javascript_pulls_with_progress(system, client, js, brief):
    brief.append("gemma3:1b")
    records = js(
        """
        const records = [];
        for await (const one of await client.pull({ model: "gemma3:1b", stream: true })) {
          records.push(one);
        }
        return records;
        """
    )
    assert records[-1] == {"status": "success"}
    assert any(record.get("completed") == record.get("total", 0) > 0 for record in records)
    assert holders(system, "gemma3:1b")
    await_listed(client, "gemma3:1b")
    with pytest.raises(ThrownError, match="file does not exist"):
        js(
            """
            const stream = await client.pull({ model: "no-such-model", stream: true });
            for await (const one of stream);
            """
        )


def test_javascript_creates_copies_and_deletes(system, client, js, brief):
    brief += ["curt:latest", "curter:latest"]
    done = js('return client.create({ model: "curt", from: "llama3.2", system: "Be curt." })')
    assert done["status"] == "success"
    await_listed(client, "curt:latest")
    copied = js('return client.copy({ source: "curt", destination: "curter" })')
    assert copied == {"status": "success"}
    await_listed(client, "curter:latest")
    assert js('return client.delete({ model: "curter" })') == {"status": "success"}
    assert not holders(system, "curter:latest")
    with pytest.raises(ThrownError, match="not found") as caught:
        js('return client.delete({ model: "curter" })')
    assert caught.value.status == 404
