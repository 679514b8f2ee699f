"""`make demo`: the whole system with three simulated nodes of different speed and models.

Its state is its own (`demo` below the data directory; the embedded Valkey and SQLite, whatever is
set) and forgotten at each start. The nodes are the fakes of the tests:
real HTTP servers that answer as Ollama does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local import supervisor
from deploy.local.children import ROOT
from deploy.local.parent_death import die_with_parent
from deploy.local.settings import DATA_DIR
from shared import environ
from shared.environ import SettingError

NODES = (
    ("fast", "llama3.2:latest,qwen3:8b", 80, 0.5),
    ("steady", "llama3.2:latest,gemma3:4b,nomic-embed-text:latest", 30, 1.0),
    ("slow", "qwen3:8b,gemma3:4b", 10, 2.0),
)
TRY = """
  Try, in another terminal:

    curl {proxy}/api/tags
    curl {proxy}/api/generate -d '{{"model": "llama3.2", "prompt": "Hello"}}'
    curl {proxy}/v1/chat/completions -H 'Content-Type: application/json' \\
         -d '{{"model": "qwen3:8b", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    curl -s {metrics}/metrics | grep aivonx

  The simulated nodes: {nodes}
  Kill one while it answers and watch what happens: kill -9 <process>
"""


def main() -> int:
    """Start the nodes, then the system; end with it."""
    try:
        use_own_state()
        return serve()
    except (SettingError, supervisor.StartError) as error:
        supervisor.say(str(error))
        return 1
    except KeyboardInterrupt:  # before the supervisor took the signals over
        return 1


def use_own_state() -> None:
    """Forget what the last demo left, and keep away from every other state."""
    data_dir = Path(environ.text(os.environ, "AIVONX_DATA_DIR", DATA_DIR)).resolve() / "demo"
    if (data_dir / "supervisor.lock").exists():  # it is a demo's, and nothing else is removed
        held = supervisor.lock_data_dir(data_dir)
        shutil.rmtree(data_dir)
        os.close(held)
    os.environ["AIVONX_DATA_DIR"] = str(data_dir)
    for name in ("REDIS_URL", "DATABASE_URL"):
        os.environ.pop(name, None)
        os.environ.pop(f"{name}_FILE", None)


def serve() -> int:
    """The nodes and the system."""
    processes = []
    try:
        urls = []
        for node in NODES:
            process, url = start_node(*node)
            processes.append(process)
            urls.append(url)
        os.environ["AIVONX_NODES"] = ",".join(urls)
        shown = zip(NODES, urls, processes, strict=True)
        nodes = ", ".join(f"{node[0]} {url} (process {p.pid})" for node, url, p in shown)
        return supervisor.main(
            lambda settings: TRY.format(
                proxy=f"http://{settings.proxy_bind}",
                metrics=f"http://{settings.metrics_bind}",
                nodes=nodes,
            )
        )
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def start_node(
    name: str, models: str, tokens_per_s: float, load_s: float
) -> tuple[subprocess.Popen[str], str]:
    """Start one simulated node; its process and URL."""
    process = subprocess.Popen(
        (sys.executable, "-m", "fakes.ollama", "--port", "0", "--name", name, "--models", models,
         "--tokens-per-s", str(tokens_per_s), "--load-s", str(load_s)),
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has no other thread
    )  # fmt: skip
    ready = process.stdout.readline() if process.stdout else ""
    if not ready:
        raise supervisor.StartError(f"the simulated node {name} did not start")
    return process, json.loads(ready)["ready"]


if __name__ == "__main__":
    sys.exit(main())
