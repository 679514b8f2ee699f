"""Ask nginx and haproxy how they read the corpus, and keep their verdicts in verdicts.json.

    .venv/bin/python tests/data_plane/hostile/record.py

Needed when the corpus has grown or what we send to nodes has another shape: test_differential says
so. Takes both programs, from the system or as `make bench` has fetched them.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes import fronts, readings  # noqa: E402 - the paths first

SENT = "SENT_TO_NODES"
"""Names the file into which test_differential then writes what it saw us send."""


async def recorded(directory: Path, sent: list[bytes]) -> dict[str, Any]:
    """The versions asked, what each passes on, and what of ours each reads as we do."""
    verdicts: dict[str, Any] = {"programs": {}, "passed on": {}, "sent": []}
    for name in fronts.PROGRAMS:
        place = directory / name
        place.mkdir()
        async with fronts.Front(name, place) as front:
            verdicts["programs"][name] = fronts.version(name)
            verdicts["passed on"][name] = {
                readings.text(case): [readings.text(each) for each in await front.read(case)]
                for case in readings.corpus()
            }
            for message in sent:
                if fault := readings.misread(message, await front.read(message)):
                    raise SystemExit(f"{name} reads what we send differently: {fault}: {message!r}")
    verdicts["sent"] = [readings.text(message) for message in sent]
    return verdicts


def main() -> None:
    """Have our messages made by the test, ask the programs, write the file."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kept = directory / "sent.json"
        command = [sys.executable, "-m", "pytest", "-q", "-k", "all_that_we_send"]
        subprocess.run(
            [*command, str(HERE / "test_differential.py")],
            env={**os.environ, SENT: str(kept)},
            cwd=ROOT,
            check=True,
        )
        sent = [readings.data(each) for each in json.loads(kept.read_text(encoding="utf-8"))]
        verdicts = asyncio.run(recorded(directory, sent))
    readings.VERDICTS.write_text(json.dumps(verdicts, indent=1) + "\n", encoding="utf-8")
    for program, passed_on in verdicts["passed on"].items():
        count = sum(map(bool, passed_on.values()))
        print(f"{verdicts['programs'][program]}: passes on {count} of {len(passed_on)}")


if __name__ == "__main__":
    main()
