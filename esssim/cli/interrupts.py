"""Ctrl-C, SIGTERM and SIGHUP: the program saves what it has and is gone within two seconds, with all its workers.

The first signal raises KeyboardInterrupt, so that files are cleaned up as usual. A thread watches: where that takes
longer than `GRACE` seconds (workers that are just starting, a loop in C that does not listen), it saves and leaves
itself. A second signal leaves at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

GRACE = 1.0
SIGNALS = tuple(number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)))

# The process that clears up after killed workers would say that it does.
QUIET = "ignore::UserWarning:joblib.externals.loky.backend.resource_tracker"

_number: int | None = None
_save: Callable[[], None] | None = None
_lock = threading.RLock()


def watch() -> None:
    """Take over the signals of this process; those that it was started to ignore (nohup) stay ignored."""
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), QUIET)))
    told, ours = os.pipe()
    os.set_blocking(ours, False)
    signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(told,), daemon=True).start()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def came() -> bool:
    """Whether a signal has come."""
    return _number is not None


@contextlib.contextmanager
def saving(save: Callable[[], None]) -> Iterator[None]:
    """Within it, `save` is called when an interrupt comes: once, by whoever gets there first."""
    global _save
    _save = save
    try:
        yield
    except KeyboardInterrupt:
        _save_now()
        raise
    finally:
        with _lock:
            _save = None


def _save_now() -> None:
    global _save
    with _lock:
        save, _save = _save, None
        if save is not None:
            save()


def leave() -> None:
    """Save, end the workers, and go, without waiting for anybody."""
    with _lock:
        with contextlib.suppress(Exception):
            _save_now()
        _end_workers()
        if sys.stderr.isatty():
            os.write(2, b"\x1b[?25h")  # a progress bar hides the cursor
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(128 + (_number or signal.SIGINT))


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _number
    first, _number = _number is None, _number or number
    if first:
        raise KeyboardInterrupt


def _wait(told: int) -> None:
    global _number
    while (number := os.read(told, 1)[0]) not in SIGNALS or signal.getsignal(number) is not _interrupt:
        pass
    _number_of_first = number
    # A second one ends the wait.
    while select.select([told], [], [], GRACE)[0] and os.read(told, 1)[0] not in SIGNALS:
        pass
    _number = _number or _number_of_first
    leave()


def _end_workers() -> None:
    """Kill the processes that this one started, but for those that clear up after it when it is gone."""
    spared = {
        getattr(getattr(sys.modules.get(name), "_resource_tracker", None), "_pid", None)
        for name in ("multiprocessing.resource_tracker", "joblib.externals.loky.backend.resource_tracker")
    }
    for pid in _children() - spared:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _children() -> set[int]:
    found: set[int] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in path.read_text().split()}
    if "multiprocessing" in sys.modules:
        import multiprocessing

        found |= {child.pid for child in multiprocessing.active_children() if child.pid}
    return found
