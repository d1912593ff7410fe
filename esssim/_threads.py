"""One thread for linear algebra: sums of several threads round differently, and an unstable run makes a level of the
last bit. Two computations that do not need each other may run beside each other.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_depth = 0
_limits = contextlib.ExitStack()


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Within it the same arguments give the same bits, whatever the machine has or the environment says.

    A context, or a decorator of a public function. The threads of BLAS, and of torch where it is loaded, are those of
    the process: the first one in limits them, the last one out puts them back, and what is nested costs nothing.
    """
    global _depth
    with _lock:
        if _depth == 0:
            _limit_blas()
            _limit_torch()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _limits.close()


@contextlib.contextmanager
def another_thread() -> Iterator[tuple[Executor, threading.Event]]:
    """A thread beside the caller, and an event that is set when the caller leaves, for what runs there to end early."""
    left = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        try:
            yield thread, left
        finally:
            left.set()


def _limit_blas() -> None:
    pools = _pools()
    if all(pool.num_threads in (None, 1) for pool in pools.lib_controllers):
        return
    _limits.enter_context(pools.limit(limits=1))
    for pool in pools.lib_controllers:
        # OpenBLAS listens to the thread that set the limit, and the last one out need not be that one.
        if hasattr(pool, "clear_controlling_thread"):
            _limits.callback(pool.clear_controlling_thread, force=True)


def _limit_torch() -> None:
    torch: Any = sys.modules.get("torch")
    # While torch is being imported there is nothing to limit yet.
    threads = torch.get_num_threads() if hasattr(torch, "get_num_threads") else 1
    if threads != 1:
        torch.set_num_threads(1)
        _limits.callback(torch.set_num_threads, threads)


@functools.cache
def _pools() -> ThreadpoolController:
    """Looked for once: that takes longer than a short run."""
    import scipy.linalg  # noqa: F401  its BLAS is one more, and must be there to be found

    return ThreadpoolController().select(user_api="blas")
