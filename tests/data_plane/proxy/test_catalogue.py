"""What the fleet says of itself, as one Ollama server would."""

import json
import re

import pytest
from fakes.snapshots import make_loaded, make_model, make_snapshot

from data_plane.proxy.catalogue import ROOT_BODY, Catalogue
from data_plane.routing.pools import Pools
from shared.inventory import parse_tags
from shared.model_names import canonical_name


def catalogue(holdings, **more):
    return Catalogue(Pools.build(make_snapshot(holdings, **more)))


def tags(*arguments, allowed=None, **more):
    return json.loads(catalogue(*arguments, **more).tags(allowed))["models"]


def ps(loaded, allowed=None, **more):
    fields = {name: {"loaded": tuple(models)} for name, models in loaded.items()}
    holdings = more.pop("holdings", dict.fromkeys(loaded, ()))
    return json.loads(catalogue(holdings, fields=fields, **more).ps(allowed))["models"]


def version(*versions, **more):
    fields = {f"n{index}": {"version": text} for index, text in enumerate(versions)}
    return json.loads(catalogue(dict.fromkeys(fields, ()), fields=fields, **more).version())


def test_the_root_says_what_ollama_says():
    assert ROOT_BODY == b"Ollama is running"


def test_a_model_that_several_nodes_hold_is_listed_once():
    assert [tag["name"] for tag in tags({"alpha": ["llama3"], "beta": ["llama3"]})] == [
        "llama3:latest"
    ]


def test_a_tag_has_every_field_that_clients_read():
    model = make_model(
        "llama3", digest="d" * 64, families=("llama",), parameter_size="8.0B",
        quantization="Q4_K_M", capabilities=("completion",), context_length=8_192,
    )  # fmt: skip
    assert tags({"alpha": [(model, "2026-11-01T10:00:00Z")]}) == [
        {
            "name": "llama3:latest",
            "model": "llama3:latest",
            "modified_at": "2026-11-01T10:00:00Z",
            "size": 4_000,
            "digest": "d" * 64,
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "8.0B",
                "quantization_level": "Q4_K_M",
                "context_length": 8_192,
            },
            "capabilities": ["completion"],
        }
    ]


def test_a_cloud_stub_says_where_it_runs():
    stub = make_model(
        "gpt-oss:120b-cloud", remote_model="gpt-oss:120b", remote_host="https://o.test"
    )
    [tag] = tags({"alpha": [stub]})
    assert (tag["remote_model"], tag["remote_host"]) == ("gpt-oss:120b", "https://o.test")


def test_models_stand_newest_first_across_offsets():
    held = [("old", "2026-11-01T10:00:00+02:00"), ("new", "2026-11-01T09:00:00Z"), "other"]
    assert [tag["name"] for tag in tags({"alpha": held})] == [
        "other:latest",
        "new:latest",
        "old:latest",
    ]


def test_sizes_are_of_one_copy_and_the_time_is_of_the_latest():
    [tag] = tags(
        {
            "alpha": [("llama3", "2026-11-01T10:00:00Z")],
            "beta": [("llama3", "2026-11-03T10:00:00Z")],
        }
    )
    assert (tag["size"], tag["modified_at"]) == (4_000, "2026-11-03T10:00:00Z")


def test_of_drifted_copies_the_served_version_is_shown():
    old, new = make_model("llama3", digest="a" * 64), make_model("llama3", digest="b" * 64)
    [tag] = tags({"alpha": [old], "beta": [new], "gamma": [new]})
    assert tag["digest"] == "b" * 64


@pytest.mark.parametrize("digest", ["abc", "x" * 11])
def test_a_digest_that_would_crash_the_cli_is_replaced(digest):
    [tag] = tags({"alpha": [make_model("llama3", digest=digest)]})
    assert tag["digest"] == "0" * 64


def test_a_time_that_go_cannot_read_is_replaced():
    [tag] = tags({"alpha": [("llama3", "yesterday")]})
    assert tag["modified_at"] == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("state", ["unhealthy", "disabled"])
def test_models_of_a_node_out_of_use_are_not_listed(state):
    held = {"alpha": ["llama3"], "beta": ["mistral"]}
    assert [tag["name"] for tag in tags(held, **{state: ["alpha"]})] == ["mistral:latest"]


def test_when_every_node_seems_bad_all_models_stay_listed():
    held = {"alpha": ["llama3"], "beta": ["mistral"]}
    assert len(tags(held, unhealthy=["alpha", "beta"])) == 2


def test_without_models_the_lists_are_empty_and_not_null():
    nothing = catalogue({})
    assert json.loads(nothing.tags()) == {"models": []}
    assert json.loads(nothing.ps()) == {"models": []}
    assert json.loads(nothing.models()) == {"object": "list", "data": []}


ONLY_LLAMA = ("registry.ollama.ai/library/llama*",)


def test_a_principal_sees_only_its_models():
    """S21."""
    held = {"alpha": ["llama3", "mistral"]}
    assert [tag["name"] for tag in tags(held, allowed=ONLY_LLAMA)] == ["llama3:latest"]
    data = json.loads(catalogue(held).models(ONLY_LLAMA))["data"]
    assert [model["id"] for model in data] == ["llama3:latest"]
    loaded = {"alpha": [make_loaded("llama3"), make_loaded("mistral")]}
    assert [model["name"] for model in ps(loaded, ONLY_LLAMA)] == ["llama3:latest"]


def test_answers_for_different_principals_are_not_mixed_up():
    """S21."""
    shown = catalogue({"alpha": ["llama3", "mistral"]})
    assert len(json.loads(shown.tags())["models"]) == 2
    assert len(json.loads(shown.tags(ONLY_LLAMA))["models"]) == 1
    assert json.loads(shown.tags(()))["models"] == []
    assert len(json.loads(shown.tags())["models"]) == 2


def test_an_answer_is_made_once():
    shown = catalogue({"alpha": ["llama3"]})
    assert shown.tags() is shown.tags()


def test_the_inventory_of_another_proxy_can_be_read_from_ours():
    held = catalogue({"alpha": ["llama3", "hf.co/Org/Model:Q4"]}).tags()
    assert {model.canonical for model, _ in parse_tags(held)} == {
        canonical_name("llama3"),
        canonical_name("hf.co/org/model:q4"),
    }


def test_a_loaded_model_is_told_with_every_field():
    [model] = ps(
        {"alpha": [make_loaded("llama3", digest="d" * 64, expires_at="2026-11-01T10:00:00Z")]}
    )
    assert model == {
        "name": "llama3:latest",
        "model": "llama3:latest",
        "size": 6_000,
        "digest": "d" * 64,
        "details": {
            "parent_model": "",
            "format": "",
            "family": "",
            "families": None,
            "parameter_size": "",
            "quantization_level": "",
        },
        "expires_at": "2026-11-01T10:00:00Z",
        "size_vram": 6_000,
        "context_length": 4_096,
    }


def test_copies_in_memory_are_summed_and_promise_the_least_context():
    [model] = ps(
        {
            "alpha": [make_loaded("llama3", expires_at="2026-11-01T10:00:00Z")],
            "beta": [
                make_loaded(
                    "llama3",
                    size_vram_bytes=3_000,
                    context_length=2_048,
                    expires_at="2318-01-01T00:00:00Z",
                )
            ],
        }
    )
    assert (model["size"], model["size_vram"], model["context_length"]) == (12_000, 9_000, 2_048)
    assert model["expires_at"] == "2318-01-01T00:00:00Z"


def test_a_loaded_model_shows_the_digest_of_the_served_version():
    served = make_model("llama3", digest="e" * 64)
    [model] = ps({"alpha": [make_loaded("llama3", digest="f" * 64)]}, holdings={"alpha": [served]})
    assert model["digest"] == "e" * 64


def test_what_a_dead_node_had_in_memory_is_not_told():
    loaded = {"alpha": [make_loaded("llama3")], "beta": [make_loaded("mistral")]}
    assert [model["name"] for model in ps(loaded, unhealthy=["alpha"])] == ["mistral:latest"]


@pytest.mark.parametrize(
    ("versions", "lowest"),
    [
        (["0.33.0"], "0.33.0"),
        (["0.33.0", "0.9.12", "0.12.0"], "0.9.12"),
        (["0.33.0", "0.33.0-rc2"], "0.33.0-rc2"),
        (["0.33.0+cluster"], "0.33.0"),
        (["", "0.33.0"], "0.33.0"),
        (["custom", ""], "0.0.0"),
        ([], "0.0.0"),
    ],
)
def test_the_version_is_the_lowest_that_is_known(versions, lowest):
    assert version(*versions) == {"version": lowest}


@pytest.mark.parametrize("text", ["0.33.0", "0.33.0-rc2", "0.33.0-rc2+git.1", "0.33.0.1", "odd"])
def test_every_version_can_be_read_by_open_webui(text):
    shown = version(text)["version"]
    assert re.fullmatch(r"\d+(\.\d+)*", re.sub(r"^v|-.*", "", shown))


def test_a_node_out_of_use_does_not_lower_the_version():
    assert version("0.33.0", "0.9.0", unhealthy=["n1"]) == {"version": "0.33.0"}


def test_a_model_in_openai_shape_is_owned_by_its_namespace():
    shown = catalogue({"alpha": [("me/mine", "2026-11-01T10:00:00Z")]})
    model = {"id": "me/mine:latest", "object": "model", "created": 1_793_527_200, "owned_by": "me"}
    assert json.loads(shown.models()) == {"object": "list", "data": [model]}
    assert json.loads(shown.model("ME/mine")) == model


def test_a_model_of_a_foreign_registry_is_found_by_its_whole_name():
    shown = catalogue({"alpha": ["hf.co/Org/Model:Q4"]})
    assert json.loads(shown.model("hf.co/org/model:Q4"))["id"] == "hf.co/Org/Model:Q4"


@pytest.mark.parametrize("name", ["mistral", "../api/delete", "", "a\x00"])
def test_a_model_that_is_not_there_is_none(name):
    assert catalogue({"alpha": ["llama3"]}).model(name) is None


def test_a_model_that_may_not_be_seen_is_none_too():
    """S21."""
    assert catalogue({"alpha": ["mistral"]}).model("mistral", ONLY_LLAMA) is None
