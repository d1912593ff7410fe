"""Where a monitor sends each record besides its Dataset: TensorBoard, or a CSV file."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping
from typing import Any

from esssim import _validate, store


class TensorBoardWriter:
    """Each value as a scalar `esssim/NAME`; writer: a `SummaryWriter`, or the folder of a new one."""

    def __init__(self, writer: Any) -> None:
        if not hasattr(writer, "add_scalar"):
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(_validate.path("writer", writer))
        self.writer = writer

    def __call__(self, step: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if math.isfinite(value):
                self.writer.add_scalar(f"esssim/{name}", value, step)
        self.writer.flush()


class CsvWriter:
    """A line for each record, the file written whole each time; cells of values that are not finite are empty."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _validate.path("path", path)
        self.rows: list[dict[str, float]] = []

    def __call__(self, step: int, row: Mapping[str, float]) -> None:
        self.rows.append({"step": step} | {name: value for name, value in row.items() if math.isfinite(value)})
        names = dict.fromkeys(name for each in self.rows for name in each)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        store.write_text(self.path, text.getvalue())
