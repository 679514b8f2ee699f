"""The settings that the README gives for whole programs lead where these programs go.

The programs are not run here. What they send was read in their sources (Open WebUI, the ollama
command) or taken down while they ran against this system (Claude Code 2.1, Codex 0.169).
"""

import gzip
import json
import re
import sys
import tomllib
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from fakes.installation import ROOT, Installation

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SETTINGS = dict(
    line.split("=", 1) for kind, text in BLOCKS if kind == "ini" for line in text.splitlines()
)
(CODEX,) = [tomllib.loads(text) for kind, text in BLOCKS if kind == "toml"]
HELLO = [{"role": "user", "content": "2 words"}]
TEXT = [{"type": "text", "text": "2 words"}]
TOOL = {"name": "Bash", "description": "Run a command.", "input_schema": {"type": "object"}}


@dataclass(frozen=True)
class Program:
    """A program that is pointed at an address."""

    address: str
    sends: list[tuple[str, str, Any]]
    """Method, what it appends to the address, and body."""

    headers: dict[str, str] = field(default_factory=dict)


# The Go client sends every field, most of them empty, and the name of a model as `name`.
OLLAMA = Program(
    SETTINGS["OLLAMA_HOST"],
    [
        ("HEAD", "/", None),
        ("GET", "/api/version", None),
        ("GET", "/api/tags", None),
        ("GET", "/api/ps", None),
        ("POST", "/api/show", {"model": "", "name": "llama3.2", "options": None, "template": ""}),
        ("POST", "/api/generate", {"model": "llama3.2", "prompt": "", "options": None}),
        (
            "POST",
            "/api/chat",
            {"model": "llama3.2", "messages": HELLO, "format": "", "tools": None},
        ),
    ],
    {"User-Agent": "ollama/0.33.0 (amd64 linux) Go/go1.24.1", "Accept": "application/x-ndjson"},
)
OPEN_WEBUI = Program(
    SETTINGS["OLLAMA_BASE_URL"],
    [
        ("GET", "/api/version", None),
        ("GET", "/api/tags", None),
        ("GET", "/api/ps", None),
        ("POST", "/api/chat", {"model": "llama3.2:latest", "messages": HELLO, "stream": True}),
        ("POST", "/api/embed", {"model": "nomic-embed-text:latest", "input": ["one", "two"]}),
        ("POST", "/api/generate", {"model": "llama3.2:latest", "keep_alive": 0, "prompt": ""}),
    ],
    {"X-OpenWebUI-User-Name": "Alice", "X-OpenWebUI-Chat-Id": "5"},
)
CLAUDE_CODE = Program(
    SETTINGS["ANTHROPIC_BASE_URL"],
    [
        ("HEAD", "/", None),
        (
            "POST",
            "/v1/messages?beta=true",
            {
                "model": SETTINGS["ANTHROPIC_MODEL"],
                "max_tokens": 32_000,
                "stream": True,
                "system": [TEXT[0] | {"cache_control": {"type": "ephemeral"}}],
                "messages": [{"role": "user", "content": TEXT}],
                "tools": [TOOL],
                "metadata": {"user_id": "{}"},
                "output_config": {"effort": "high"},
            },
        ),
    ],
    {
        "Authorization": f"Bearer {SETTINGS['ANTHROPIC_AUTH_TOKEN']}",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
        "anthropic-version": "2023-06-01",
        "X-Stainless-Retry-Count": "0",
        "x-app": "cli",
    },
)
CODEX_CLI = Program(
    CODEX["model_providers"][CODEX["model_provider"]]["base_url"],
    [
        (
            "POST",
            f"/{CODEX['model_providers'][CODEX['model_provider']]['wire_api']}",
            {
                "model": CODEX["model"],
                "stream": True,
                "store": False,
                "input": [
                    {
                        "type": "message",
                        "role": role,
                        "content": [{"type": "input_text", "text": "2 words"}],
                    }
                    for role in ("developer", "user")
                ],
                "tools": [
                    {"type": "function", "name": "exec_command", "parameters": {}},
                    {"type": "namespace", "name": "multi_agent_v1", "tools": []},
                ],
                "tool_choice": "auto",
                "reasoning": {"summary": "auto"},
                "include": ["reasoning.encrypted_content"],
            },
        ),
    ],
    {"accept": "text/event-stream", "originator": "codex_exec", "session-id": "01a2"},
)


def send(system: Installation, program: Program) -> list[httpx2.Response]:
    address = program.address.replace("http://127.0.0.1:11435", system.proxy)
    assert address != program.address, "the README names another address than the default one"
    with httpx2.Client(headers=program.headers, timeout=20) as client:
        return [
            client.request(method, address + path, json=body)
            for method, path, body in program.sends
        ]


@pytest.mark.parametrize("program", [OLLAMA, OPEN_WEBUI, CLAUDE_CODE, CODEX_CLI])
def test_whatever_the_program_sends_is_served(system, program):
    for answer in send(system, program):
        assert answer.status_code == 200, f"{answer.request.url}: {answer.text}"


def test_the_answers_come_to_their_end(system):
    for program in (OLLAMA, OPEN_WEBUI):
        (chat,) = [one for one in send(system, program) if one.url.path == "/api/chat"]
        assert json.loads(chat.text.splitlines()[-1])["done_reason"] == "stop"
    assert "event: message_stop" in send(system, CLAUDE_CODE)[-1].text
    assert "event: response.completed" in send(system, CODEX_CLI)[-1].text


@pytest.mark.parametrize(("coding", "compress"), [("zstd", zstd.compress), ("gzip", gzip.compress)])
def test_codex_may_compress_what_it_sends(system, coding, compress):
    (_, path, body) = CODEX_CLI.sends[0]
    address = CODEX_CLI.address.replace("http://127.0.0.1:11435", system.proxy)
    headers = CODEX_CLI.headers | {"Content-Type": "application/json", "Content-Encoding": coding}
    packed = compress(json.dumps(body).encode())
    answer = httpx2.post(address + path, content=packed, headers=headers, timeout=20)
    assert "event: response.completed" in answer.text


def test_every_setting_of_the_readme_is_proved():
    assert SETTINGS.keys() == {
        *("OLLAMA_HOST", "OLLAMA_BASE_URL"),
        *("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL"),
    }
    assert CODEX["model_providers"].keys() == {CODEX["model_provider"]}
