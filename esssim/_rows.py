"""A row of a table: column -> value. Tables of claims, figures and runs are lists of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Row = dict[str, str | int | float | bool]


def column(rows: Iterable[Row], name: str) -> npt.NDArray[np.float64]:
    """One column of numbers."""
    import numpy as np

    return np.array([row[name] for row in rows], dtype=np.float64)
