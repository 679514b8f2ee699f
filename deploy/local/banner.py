"""What a person reads when the system has started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.local.settings import Settings


def show(settings: Settings, found: dict[str, Any], more: str) -> None:
    """Print the banner. `found` is what `prepare` said."""
    proxy = f"http://{settings.proxy_bind}"
    control = f"http://{settings.control_bind}"
    nodes = found["nodes"]
    lines = [
        "",
        "  Aivonx Proxy is running.",
        "",
        f"  For clients    {proxy}   (OLLAMA_HOST={proxy})",
        f"                 {proxy}/v1   (OpenAI SDKs)",
        f"  For operators  {control}/swagger",
        f"  Sign in        {_sign_in(found)}",
        f"  Nodes          {_nodes(nodes)}",
        *(f"                 {line}" for line in found["registered"]),
        (
            f"  Add a node     POST {control}/api/proxy/nodes"
            ' {"name": "gpu-1", "address": "http://HOST:11434"}'
        ),
        "                 (with a token from /api/account/login; README.md has the commands)",
        f"  Metrics        http://{settings.metrics_bind}/metrics",
        f"  Logs           {settings.data_dir}/logs",
        "  Stop           Ctrl-C",
        "",
    ]
    sys.stdout.write("\n".join(lines) + more + "\n")
    sys.stdout.flush()


def _sign_in(found: dict[str, Any]) -> str:
    if "password" in found:
        return f"root, password {found['password']}   (kept in {found['password_file']})"
    if found["password_file"] == "-":  # noqa: S105 - a mark, no password
        return "root, with the password that you set"
    return f"root, password in {found['password_file']}"


def _nodes(nodes: dict[str, int]) -> str:
    if not nodes["all"]:
        return "none yet, so every request is answered 404: add one"
    standby = nodes["all"] - nodes["active"]
    return f"{nodes['active']} active" + (f", {standby} in standby" if standby else "")
