"""All statistics of a model of a table, for each batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from esssim import _validate, data
from esssim._errors import Undefined
from esssim._progress import Progress, shown
from esssim._threads import another_thread
from esssim._validate import FloatArray
from esssim.measure.models import MODELS, NETWORK_LIMIT, prepare
from esssim.measure.results import BatchSizeRow, TableMeasurement
from esssim.problems import DiagonalLinearNetwork, Problem
from esssim.problems.base import curvature_of
from esssim.problems.once import one_record
from esssim.sampling import WithoutReplacement
from esssim.statistics import (
    Estimate,
    batch_sharpness,
    interaction_aware_sharpness,
    minibatch_sharpness,
    sharpness,
)
from esssim.statistics.mean_square import tops_of_pencil

BATCH_SIZES = (1, 2, 4, 8, 16, 32)


def measure_table(
    table: data.Data,
    *,
    batch_sizes: Sequence[int] | None = None,
    model: str = "regression",
    n_batches: int = 2000,
    seed: int = 0,
    standardized: bool = True,
    progress: Progress = False,
) -> TableMeasurement:
    """All statistics of a model of a table for each batch size (default 1, 2, 4, 8, 16, 32 and n, where ≤ n).

    model: "regression", ℓᵢ = ½(xᵢᵀθ − yᵢ)² at θ = 0 (its Hessian is the same everywhere); or "network", the diagonal
    linear network β = u∘v at the solution that gradient flow reaches from u = α·1, v = 0 on the targets' own
    least-squares fit, α = 2·max(1, √max|β*|): the start of the step-size ramp of the claims, whatever the units; or
    "mlp", a torch network of one hidden layer of tanh units (extra: esssim[bridge]) after 5000 steps of full-batch
    descent. n_batches are drawn from `seed` at each batch size; where no more exist, all are enumerated and the numbers
    exact. standardized is only reported. progress: True for a bar, or a function of (done, total)
    batch sizes. Raises ValueError.
    """
    _validate.instance("table", table, data.Data, "data.load returns")
    n = table.n_samples
    _validate.choice("model", model, MODELS)
    n_batches = _validate.integer("batches", n_batches, 2)
    seed = _validate.integer("seed", seed, 0)
    chosen = sorted({*(b for b in BATCH_SIZES if b <= n), n}) if batch_sizes is None else batch_sizes
    if not isinstance(chosen, Sequence | np.ndarray) or len(chosen) == 0:
        raise ValueError(f"batch_sizes must be a sequence of at least one integer, got {_validate.shown(chosen)}")
    sizes = sorted({_validate.integer("batch_size", b, 1, n, "n_samples") for b in chosen})
    notes = list(table.notes) + [
        f"Every {name} is the same in all {n} samples: there is nothing to learn from it."
        for name, values in (("target", table.targets), ("input", table.inputs))
        if (values == values[0]).all()
    ]
    if model == "network" and table.n_features > NETWORK_LIMIT:
        raise ValueError(f"model 'network' is for at most {NETWORK_LIMIT} features, got {table.n_features}")
    with shown(progress, len(sizes), "batch sizes") as advance:
        problem, theta, where = prepare(table, model)
        if model == "network":
            notes.append(
                "Batch sharpness and IAS are ratios of gradients; at an exact interpolant every gradient is zero and "
                "they "
                "are 0/0 (—)."
            )
        full = sharpness(problem, theta)
        with one_record(), another_thread() as (other, left):
            # At an interpolant both Hessians are the same; only the Gauss–Newton one is positive semidefinite to the
            # last bit.
            curvature = curvature_of(problem, theta, "gauss_newton")
            # Products of large matrices, for which another core is as good; the batches are drawn meanwhile.
            coefficients = (WithoutReplacement(b).variance_coefficient(n) for b in sizes if not left.is_set())
            tops = other.submit(tops_of_pencil, curvature, coefficients)
            of_batches = []
            for b in sizes:
                of_batches.append(_of_batches(problem, theta, full, b, n_batches, seed, notes))
                advance(1)
            rows = tuple(
                BatchSizeRow(b, full, *measured, top, 2 / top if top > 0 else math.inf)
                for b, measured, top in zip(sizes, of_batches, tops.result(), strict=True)
            )
    return TableMeasurement(
        table.name, n, table.n_features, model, where, standardized, rows, tuple(dict.fromkeys(notes))
    )


def _of_batches(
    problem: Problem, theta: FloatArray, full: float, b: int, n_batches: int, seed: int, notes: list[str]
) -> tuple[Estimate, Estimate, Estimate | None, float | None]:
    """MiniBS, its gap, batch sharpness and IAS; full: the sharpness, which no batch size changes."""
    sampling = WithoutReplacement(b)
    drawn = None if sampling.count(problem.n_samples) <= n_batches else n_batches
    # A stream for each batch size: its numbers do not depend on which others were asked for.
    stream = np.random.SeedSequence([seed, b])
    mini = minibatch_sharpness(problem, theta, sampling, n_batches=drawn, seed=stream)
    # One batch of everything: the two are the same number, computed in two ways.
    gap = mini - (mini if b == problem.n_samples else full)
    batch, ias = None, None
    network = isinstance(problem, DiagonalLinearNetwork)
    if not network:
        try:
            ias = interaction_aware_sharpness(problem, theta, sampling)
            batch = batch_sharpness(problem, theta, sampling, n_batches=drawn, seed=stream)
        except Undefined as undefined:  # 0/0: a target of exactly 0 has no gradient at θ = 0
            notes.append(f"b = {b}: {undefined} (—).")
    return mini, gap, batch, ias
