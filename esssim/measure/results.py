"""What was measured on a table: a row per batch size, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass

from esssim.statistics import Estimate

CSV_HEADER = ("batch_size", "n_batches", "exact", "sharpness", "minibatch_sharpness", "minibatch_sharpness_lower",
              "minibatch_sharpness_upper", "gap", "gap_lower", "gap_upper", "batch_sharpness", "batch_sharpness_lower",
              "batch_sharpness_upper", "interaction_aware_sharpness", "mean_square_sharpness",
              "critical_step_size")  # fmt: skip


@dataclass(frozen=True)
class BatchSizeRow:
    """The statistics at one batch size b, batches drawn without replacement.

    sharpness λ_max(H); minibatch_sharpness M_b; gap M_b − λ_max(H); batch_sharpness and interaction_aware_sharpness,
    None where the gradients vanish and they are 0/0; mean_square_sharpness Q_b; critical_step_size 2/Q_b.
    """

    batch_size: int
    sharpness: float
    minibatch_sharpness: Estimate
    gap: Estimate
    batch_sharpness: Estimate | None
    interaction_aware_sharpness: float | None
    mean_square_sharpness: float
    critical_step_size: float

    def as_dict(self) -> dict[str, object]:
        """For JSON: estimates with their 95 % interval, infinite numbers as null."""
        return {
            "batch_size": self.batch_size,
            "sharpness": _finite(self.sharpness),
            "minibatch_sharpness": _estimate_dict(self.minibatch_sharpness),
            "gap": _estimate_dict(self.gap),
            "batch_sharpness": _estimate_dict(self.batch_sharpness),
            "interaction_aware_sharpness": _finite(self.interaction_aware_sharpness),
            "mean_square_sharpness": _finite(self.mean_square_sharpness),
            "critical_step_size": _finite(self.critical_step_size),
        }


@dataclass(frozen=True)
class TableMeasurement:
    """What was measured on a table: its size, the model and theta in words, a row per batch size, footnotes."""

    table: str
    n_samples: int
    n_features: int
    model: str
    theta: str
    standardized: bool
    rows: tuple[BatchSizeRow, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        plain = {name: value for name, value in vars(self).items() if name not in ("rows", "notes")}
        return {**plain, "rows": [row.as_dict() for row in self.rows], "notes": list(self.notes)}

    def as_csv(self) -> str:
        """One line per batch size; empty cells where a statistic is undefined."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(CSV_HEADER)
        for row in self.rows:
            mini = row.minibatch_sharpness
            cells: list[object] = [row.batch_size, mini.n_batches, mini.exact, row.sharpness]
            for estimate in (mini, row.gap, row.batch_sharpness):
                cells += ["", "", ""] if estimate is None else [estimate.value, *estimate.interval]
            ias = row.interaction_aware_sharpness
            writer.writerow([*cells, "" if ias is None else ias, row.mean_square_sharpness, row.critical_step_size])
        return text.getvalue()


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _estimate_dict(estimate: Estimate | None) -> dict[str, object] | None:
    if estimate is None:
        return None
    return {
        "value": _finite(estimate.value),
        "interval": [_finite(end) for end in estimate.interval],
        "standard_error": _finite(estimate.standard_error),
        "n_batches": estimate.n_batches,
        "exact": estimate.exact,
    }
