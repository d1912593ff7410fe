"""What recording costs: a run with records against the same run without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import esssim as es
from esssim.simulation.recorder import STATISTICS

from .instances import MIDDLE, SMALL, Instance
from .table import Goal, Row, compare
from .timing import Side

MEAN_SQUARE = ("mean_square_sharpness", "mean_square_sharpness_gauss_newton")


def rows(quick: bool) -> Iterator[Row]:
    instance, n_steps, n_records = (SMALL, 10_000, 10) if quick else (MIDDLE, 100_000, 100)
    size = f"{instance}, {n_steps:,} steps, {n_records} records"
    without_pencil = tuple(name for name in STATISTICS if name not in MEAN_SQUARE)
    plain = Side(lambda r: run(instance, n_steps, (), 1, r))
    for words, names in {
        "all statistics": tuple(STATISTICS),
        "all but the mean-square sharpness": without_pencil,
        **{name.replace("_", " "): (name,) for name in STATISTICS},
    }.items():
        yield compare(
            "recording",
            f"recording {words}",
            size,
            ours=Side(lambda r, names=names: run(instance, n_steps, names, n_records, r)),
            against="–",
            limit=plain,
            limit_name="the run without records",
            goal=Goal("distance", at_most=2.0) if words == "all statistics" else None,
        )


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
