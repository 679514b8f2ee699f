"""One process that serves, from its first socket to its last: the whole data plane, or a worker.

The first SIGTERM or SIGINT drains, the second one ends at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import TYPE_CHECKING, Final

import uvloop

from data_plane.app import App
from data_plane.host.memory import keep_freed
from data_plane.telemetry.logs import Log, start_log

if TYPE_CHECKING:
    from data_plane.host.place import Place
    from data_plane.settings import Settings

COLLECT_AFTER: Final = (5_000, 4, 50)
"""When the collector runs, and how far it looks (`gc.set_threshold`). What ends is freed at once
(tests/data_plane/test_leaks.py), so that it finds next to nothing; but a look at all objects stops
every stream. With Python's own (700, 10, 10), opening 5,000 streams took seven of 20 to 160 ms;
with these none, and twenty looks at the newest 20,000 objects, of 4 to 10 ms."""


def serve(settings: Settings, place: Place | None = None) -> int:
    """Serve until signalled; the exit status."""
    log = start_log(settings.log_format, settings.log_level, place.number if place else 0)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, log, place))
    finally:
        log.sink.close()


async def _serve(settings: Settings, log: Log, place: Place | None) -> int:
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
    app = App(settings, log, place)
    try:
        await app.start()
    except OSError as error:
        log.warning("cannot_listen", reason=str(error))
        await app.stop()
        return 1
    # What has been built by now lives as long as the process: the collector need not look at it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    keep_freed()
    await stop.wait()
    await app.drain()
    await app.stop()
    return 0
