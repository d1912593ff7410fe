"""One BLAS thread: sums of several threads round differently, and an unstable run makes a level of the last bit."""

from __future__ import annotations

import contextlib
import functools

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> contextlib.AbstractContextManager[object]:
    """Within it the same seed gives the same numbers, whatever the machine has or the environment says."""
    return _pools().limit(limits=1)


@functools.cache
def _pools() -> ThreadpoolController:
    """Looked for once: that takes longer than a short run."""
    import scipy.linalg  # noqa: F401  its BLAS is one more, and must be there to be found

    return ThreadpoolController()
