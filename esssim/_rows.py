"""A row of a table: column -> value. Tables of claims, figures and runs are lists of them."""

from __future__ import annotations

Row = dict[str, str | int | float | bool]
