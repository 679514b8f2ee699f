"""Dying with the parent: Linux's PR_SET_PDEATHSIG.

A process that is killed cannot tidy up. With this set in each child, the kernel ends the children
when the parent is gone, however it went. The signal follows the thread that forked, so whoever
starts children must do it from a thread that lives as long as itself.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies. For `preexec_fn` and after a fork."""
    parent = os.getppid()
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        # The parent died before the request was in place.
        os.kill(os.getpid(), signal.SIGKILL)
