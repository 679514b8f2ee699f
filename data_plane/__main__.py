"""`python -m data_plane`: read the settings, serve until told to stop.

The first SIGTERM or SIGINT drains, the second one ends at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

import uvloop

from data_plane import settings as reading
from data_plane.app import App
from data_plane.telemetry.logs import Log, start_log
from shared.environ import SettingError

EXIT_BAD_SETTING = 78
"""EX_CONFIG of sysexits.h: starting again will not help."""


async def _serve(settings: reading.Settings, log: Log) -> int:
    stop = asyncio.Event()

    def told_to_stop() -> None:
        if stop.is_set():
            log.warning("stopped_at_once")
            log.sink.close()
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)
    app = App(settings, log)
    try:
        await app.start()
    except OSError as error:
        log.warning("cannot_listen", reason=str(error))
        await app.stop()
        return 1
    # What has been built by now lives as long as the process: the collector need not look at it.
    gc.collect()
    gc.freeze()
    await stop.wait()
    await app.drain()
    await app.stop()
    return 0


def main() -> int:
    """Run; the exit status."""
    try:
        settings = reading.load(os.environ)
    except SettingError as error:
        sys.stderr.write(f"data_plane: {error}\n")
        return EXIT_BAD_SETTING
    log = start_log(settings.log_format, settings.log_level)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, log))
    finally:
        log.sink.close()


if __name__ == "__main__":
    sys.exit(main())
