"""What recording costs: a run with records against the same run without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import esssim as es
from esssim.statistics.table import STATISTICS

from .instances import MIDDLE, SMALL, Instance
from .table import Goal, Row, compare
from .timing import Side

# Those of the rows that are compared with earlier ones: a new statistic has a row of its own.
COMPARED = (
    "loss", "gradient_norm", "sharpness", "minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts",
    "gradient_noise_interaction", "interaction_aware_sharpness", "mean_square_sharpness",
    "mean_square_sharpness_gauss_newton",
)  # fmt: skip


def rows(quick: bool) -> Iterator[Row]:
    instance, n_steps, n_records = (SMALL, 10_000, 10) if quick else (MIDDLE, 100_000, 100)
    yield recorded("all statistics", COMPARED, instance, n_steps, n_records, Goal("distance", at_most=2.0))
    # One at a time and a tenth as long: the ratio is the same.
    for name in STATISTICS:
        yield recorded(name.replace("_", " "), (name,), instance, n_steps // 10, n_records // 10)


def recorded(
    words: str, names: Sequence[str], instance: Instance, n_steps: int, n_records: int, goal: Goal | None = None
) -> Row:
    row = compare(
        "recording",
        f"recording {words}",
        f"{instance}, {n_steps:,} steps, {n_records} records",
        ours=Side(lambda r: run(instance, n_steps, names, n_records, r)),
        limit=Side(lambda r: run(instance, n_steps, (), 1, r)),
        limit_name="the run without records",
        goal=goal,
    )
    assert row.limit_seconds is not None
    each = (row.seconds.median - row.limit_seconds.median) / n_records
    return Row(**{**vars(row), "note": f"{1e3 * each:.3g} ms a record"})


def run(instance: Instance, n_steps: int, names: Sequence[str], n_records: int, seed: int) -> None:
    es.simulate(
        instance.network,
        instance.theta,
        step_size=instance.step_size,
        sampling=instance.sampling,
        n_steps=n_steps,
        record=names,
        n_records=n_records,
        seed=seed,
    )
