"""Whatever happens, no log has a key, a token, a password or a prompt in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2
from fakes.canary import PROMPT
from fakes.processes import eventually
from fakes.stack import PASSWORD, SECRETS

if TYPE_CHECKING:
    from fakes.stack import Stack

NODE_TOKEN: Final = "canary-node-token-91c2"
WRONG_PASSWORD: Final = "canary-wrong-password-55"
WRONG_KEY: Final = "olp_canarycanary_" + "w" * 43 + "_zzzzzz"


def test_nothing_secret_is_logged_on_good_days_and_bad(stack: Stack) -> None:
    """S11, S35."""
    node = stack.serving_node(token=NODE_TOKEN)
    stack.api.ask("POST", "/api/proxy/nodes", {"name": "x", "address": "!", "token": NODE_TOKEN})
    key = stack.api.key_create("logged")["key"]
    eventually("the key holds", lambda: stack.plane.chat("llama3.2", key=key).status_code == 200, 5)
    httpx2.post(
        f"http://127.0.0.1:{stack.control_port}/api/account/login",
        json={"username": "root", "password": WRONG_PASSWORD},
    )
    body = {"model": "llama3.2", "messages": [{"role": "user", "content": PROMPT}], "stream": False}
    for path, headers in (
        ("/api/chat", {"Authorization": f"Bearer {key}"}),
        ("/api/chat", {"x-api-key": key}),
        ("/api/chat", {"Authorization": f"Bearer {WRONG_KEY}"}),
        (f"/k/{key}/api/chat", {}),
        (f"/k/{WRONG_KEY}/api/chat", {}),
        (f"/api/chat?key={key}", {}),
        (f"/api/nowhere/{key}", {}),
    ):
        httpx2.post(stack.plane.url(path), json=body, headers=headers, timeout=10)
    assert node.authorizations() == {f"Bearer {NODE_TOKEN}"}
    node.kill()
    stack.plane.chat("llama3.2", key=key)

    redis_password = urlsplit(stack.redis_url).password
    logs = {path: path.read_text(errors="replace") for path in stack.logs()}
    for secret in (
        key.split("_")[2],
        WRONG_KEY,
        NODE_TOKEN,
        PASSWORD,
        WRONG_PASSWORD,
        redis_password,
        PROMPT,
        *SECRETS.values(),
    ):
        leaks = [path.name for path, text in logs.items() if secret in text]
        assert not leaks, f"{secret[:16]}... is in {leaks}"
