"""Every command and every program of the README, run as it stands with the addresses replaced."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fakes import foreign, javascript
from fakes.installation import APPLY_S, ROOT, Installation
from fakes.processes import eventually

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SHELL = [text for kind, text in BLOCKS if kind == "sh"]
PROGRAMS = [(kind, text) for kind, text in BLOCKS if kind in {"python", "js"}]
MARK = "----- next command -----"


def placed(system: Installation, text: str) -> str:
    """The text with this system's addresses in the place of the documented ones."""
    for documented, real in (
        ("http://127.0.0.1:11435", system.proxy),
        ("http://127.0.0.1:8000", system.control),
        ("http://127.0.0.1:9435", system.metrics),
        ("http://10.0.0.7:11434", system.spare.url),
        ("var/", f"{system.data_dir}/"),
    ):
        text = text.replace(documented, real)
    return text


def commands(block: str) -> list[str]:
    """The commands of a block; a line that ends with a backslash goes on."""
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def outputs(system, tmp_path_factory):
    """What each command of the README printed, by the command; an HTTP error ends the run."""
    home: Path = tmp_path_factory.mktemp("home")
    (home / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\nmax-time = 20\n")
    lines = [command for block in SHELL for command in commands(placed(system, block))]
    script = f"\necho '{MARK}'\n".join(["set -eu", *lines])
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": _path(), "CURL_HOME": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    with system.operator() as operator:
        _forget(operator, system)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return dict(zip(lines, done.stdout.split(f"{MARK}\n")[1:], strict=True))


def _path() -> str:
    """`python3` in a command is the one that runs this test."""
    return f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


def _forget(operator: httpx2.Client, system: Installation) -> None:
    """Take back what the commands changed: with a key left, every other test would need it."""
    for path in ("/api/account/keys", "/api/proxy/nodes"):
        for made in operator.get(path, params={"limit": 100}).raise_for_status().json()["results"]:
            if made["name"] in {"notebook", "gpu-1"}:
                operator.delete(f"{path}/{made['id']}").raise_for_status()
    operator.patch("/api/proxy/config", json={"strategy": "least_active"}).raise_for_status()
    eventually(
        "the proxy is open again",
        lambda: httpx2.get(f"{system.proxy}/api/tags").status_code == 200,
        APPLY_S,
    )


def output_of(outputs: dict[str, str], part: str) -> str:
    """What the only command with that in it printed."""
    (found,) = [printed for command, printed in outputs.items() if part in command]
    return found


def test_the_readme_has_commands_and_programs():
    assert sum(command.startswith("curl") for block in SHELL for command in commands(block)) >= 6
    assert len(PROGRAMS) >= 7


def test_the_first_requests_answer(outputs):
    listed = json.loads(output_of(outputs, "/api/tags"))
    assert "llama3.2:latest" in {model["name"] for model in listed["models"]}
    records = [json.loads(line) for line in output_of(outputs, "/api/chat").splitlines()]
    assert records[-1]["done"] is True
    completion = json.loads(output_of(outputs, "/v1/chat/completions"))
    assert completion["choices"][0]["message"]["content"]


def test_a_node_is_added_and_the_answer_says_what_was_found(outputs):
    added = json.loads(output_of(outputs, '"gpu-1"'))
    assert added["name"] == "gpu-1"
    assert [model["name"] for model in added["available_models"]] == ["mistral:latest"]


def test_the_state_and_the_strategy(outputs):
    assert json.loads(output_of(outputs, "/api/proxy/state"))["active"]
    assert json.loads(output_of(outputs, "lowest_latency"))["strategy"] == "lowest_latency"


def test_a_key_is_made_and_shown_once(outputs):
    assert json.loads(output_of(outputs, '"notebook"'))["key"].startswith("olp_")


def run_here(program: str) -> str:
    """What a Python program printed that runs with our own packages."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(600)  # one may have to install the environment of the foreign clients
@pytest.mark.parametrize(("kind", "text"), PROGRAMS)
def test_a_program_prints_an_answer(system, node_modules, kind, text):
    program = placed(system, text)
    if kind == "js":
        printed = javascript.run(node_modules, program)
    elif "llama_index" in program or "litellm" in program:
        printed = foreign.run("-c", program)
    else:
        printed = run_here(program)
    assert "You said: Hello" in printed
