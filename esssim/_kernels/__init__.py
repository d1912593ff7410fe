"""Compiled loops (numba), cached on disk; each has a slow, readable twin in the tests."""

from __future__ import annotations

import sys

from numba.core import event as numba_events

from esssim._kernels.keeping import place


class _Announcement(numba_events.Listener):
    """One line in a terminal before the first loop is compiled: nothing else would explain the wait."""

    said = False

    def on_start(self, event: numba_events.Event) -> None:
        dispatcher = event.data.get("dispatcher")
        ours = getattr(dispatcher, "__module__", "").startswith(__name__)
        if ours and not _Announcement.said and sys.stderr.isatty():
            _Announcement.said = True
            print(f"esssim: compiling its loops; {place(dispatcher)} ...", file=sys.stderr, flush=True)

    def on_end(self, event: numba_events.Event) -> None:
        pass


numba_events.register("numba:compile", _Announcement())
