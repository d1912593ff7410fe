"""How arrays lie in memory for the compiled loops."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray

# Bytes of a cache line, which is also the widest vector register.
LINE = 64


def in_cache_lines(rows: FloatArray) -> FloatArray:
    """A copy of rows (n, d), each padded with zeros to whole cache lines and starting on one.

    No vectorised loop over a row then has a remainder, and no load from it touches two lines.
    """
    per_line = LINE // 8
    n, d = rows.shape
    width = -(-d // per_line) * per_line
    buffer = np.zeros(n * width + per_line)
    offset = -buffer.__array_interface__["data"][0] // 8 % per_line
    aligned = buffer[offset : offset + n * width].reshape(n, width)
    aligned[:, :d] = rows
    return aligned
