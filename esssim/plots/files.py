"""A figure as files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def rendered(figure: Figure) -> dict[str, bytes]:
    """{"png": …, "svg": …}, without the date and the writer's version: the same numbers give the same file."""
    contents = {}
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        contents[suffix] = buffer.getvalue()
    return contents
