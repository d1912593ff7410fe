"""Compiled loops (numba), cached on disk; each has a slow, readable twin in the tests."""

from __future__ import annotations

import os
import sys
from multiprocessing import current_process

from numba.core import event as numba_events

from esssim._kernels.keeping import place


class _Announcement(numba_events.Listener):
    """One line before the first loop is compiled, in terminals, logs and notebooks: nothing else would explain the
    wait.

    The processes that a run starts say nothing; nor does anyone where ESSSIM_SILENT is set.
    """

    said = False

    def on_start(self, event: numba_events.Event) -> None:
        dispatcher = event.data.get("dispatcher")
        ours = getattr(dispatcher, "__module__", "").startswith(__name__)
        silent = "ESSSIM_SILENT" in os.environ or current_process().name != "MainProcess"
        if ours and not _Announcement.said and not silent:
            _Announcement.said = True
            print(f"esssim: compiling its loops; {place(dispatcher)} ...", file=sys.stderr, flush=True)

    def on_end(self, event: numba_events.Event) -> None:
        pass


numba_events.register("numba:compile", _Announcement())
