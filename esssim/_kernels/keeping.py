"""Compiled loops on disk: a folder that cannot be written to costs time, and no more.

numba keeps a loop beside its source or in the user's folder of caches (or where NUMBA_CACHE_DIR says) and raises an
error where it can write to none of them. Here a private temporary folder comes last, and without one nothing is kept.
numba compiles a loop anew when its own file changes. Here it also does when another file of this folder changes, since
a part of the loop may stand there. Where several processes need the same loop, one compiles it and the others wait.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import IO, Any

from numba.core import caching

from esssim._source import digest_of

# Seconds for a loop of another process: the slowest takes 20 on a busy machine.
LONGEST_WAIT = 120.0


class _Temporary(caching.UserProvidedCacheLocator):
    """The last place: what lies in a folder of temporary files is read only where nobody else can write."""

    def __init__(self, py_func, py_file):
        self._py_file = py_file
        self._lineno = py_func.__code__.co_firstlineno
        self._cache_path = str(temporary_folder() / self.get_suitable_cache_subpath(py_file))

    @classmethod
    def from_function(cls, py_func, py_file):
        try:
            return super(caching.UserProvidedCacheLocator, cls).from_function(py_func, py_file)
        except OSError:
            return None


class _Places(caching.CompileResultCacheImpl):
    _locator_classes: list[Any] = [*caching.CacheImpl._locator_classes, _Temporary]  # noqa: RUF012  numba asks for one


class _Turn:
    """Who compiles a loop: the process that holds a lock on a file beside its machine code."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: IO[str] | None = None

    def take(self) -> None:
        """Wait while another process compiles this loop; no longer than LONGEST_WAIT, and not where there are no
        locks.
        """
        self.pass_on()  # what this process held, if its compilation failed
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._held = self._path.open("w")
            until = time.monotonic() + LONGEST_WAIT
            while time.monotonic() < until:
                with contextlib.suppress(BlockingIOError):
                    return fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                time.sleep(0.02)

    def pass_on(self) -> None:
        """Let others go on."""
        if self._held is not None:
            self._held.close()
            self._held = None


class _Cache(caching.FunctionCache):
    """numba's cache, for which a file that is damaged, unreadable or cannot be written is one that is not there."""

    _impl_class = _Places

    def __init__(self, py_func):
        super().__init__(py_func)
        self._cache_file._source_stamp = self._impl.locator.get_source_stamp(), sources()
        self._turn = _Turn(Path(self.cache_path) / f"{self._impl.filename_base}.lock")

    def load_overload(self, sig, target_context):
        found = self._loaded(sig, target_context)
        if found is None:
            self._turn.take()
            found = self._loaded(sig, target_context)  # perhaps compiled in the meantime
            if found is not None:
                self._turn.pass_on()
        return found

    def _loaded(self, sig, target_context):
        with contextlib.suppress(Exception):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig, data):
        with contextlib.suppress(Exception):
            super().save_overload(sig, data)
            return self._turn.pass_on()
        with contextlib.suppress(Exception):  # a damaged index would be in the way for ever
            self.flush()
            super().save_overload(sig, data)
        return self._turn.pass_on()


@cache
def sources() -> str:
    """SHA-256 of every file of this folder."""
    return digest_of(Path(__file__).parent.glob("*.py"))


def temporary_folder() -> Path:
    """A folder of this user's own for temporary files. Raises OSError where there is none."""
    folder = Path(tempfile.gettempdir()) / f"esssim-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    if not stat.S_ISDIR(found.st_mode) or not mine or (os.name == "posix" and found.st_mode & 0o077):
        raise PermissionError(f"{folder} is not a private folder of this user")
    return folder


def kept(dispatcher: Any) -> Any:
    """A compiled function whose machine code is kept on disk, where there is a place for it."""
    with contextlib.suppress(RuntimeError, OSError):  # no place
        dispatcher._cache = _Cache(dispatcher.py_func)
    return dispatcher


def place(dispatcher: Any) -> str:
    """Where the machine code of a function is kept, in words."""
    folder = getattr(getattr(dispatcher, "_cache", None), "cache_path", None)
    if folder is None:
        return "no folder can be written to that would keep them (set NUMBA_CACHE_DIR)"
    return "they are kept for the next time"
