"""The right-hand side of the flow by products with J, against all modes of K; and diagonal networks of d = 300,
whole.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import esssim as es
from esssim import flow
from esssim.flow.mean import MeanLaw
from esssim.flow.rank import FEWEST, with_enough_modes
from esssim.spectra import continued_pairs, leading_pairs

from .instances import Array
from .table import Goal, Row, compare
from .timing import Side

SIZES = {300: (100, 5), 1200: (200, 10)}


def rows(quick: bool) -> Iterator[Row]:
    for n in (300,) if quick else SIZES:
        width, d = SIZES[n]
        few, every, theta = laws(n, width, d)
        found, exact = few.velocity(0.0, theta), every.velocity(0.0, theta)
        yield compare(
            "flow",
            "right-hand side of the flow",
            f"n={n}, p={len(theta)}, b=8",
            ours=Side(lambda _, law=few, at=theta: law.velocity(0.0, at)),
            rival=Side(lambda _, law=every, at=theta: law.velocity(0.0, at)),
            against="the same with all modes of K",
            goal=None,
            errors=(float(np.linalg.norm(found - exact) / np.linalg.norm(exact)), None),
            note=f"{few.rank} modes and a tail",
        )
    yield modes(quick)
    d = 30 if quick else 300
    yield compare(
        "flow",
        "flow of a diagonal network",
        f"n={2 * d}, d={d}, b=8, 100,000 steps",
        ours=Side(lambda _: diagonal(d)),
        goal=Goal("seconds", at_most=30.0),
    )


def modes(quick: bool) -> Row:
    """The leading modes of a K near one whose modes are known, as between two evaluations of the flow."""
    n, p, rank = (300, 250, 32) if quick else (1280, 1210, 64)
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n, p)) * np.arange(1.0, p + 1) ** -0.8
    near = factors * (1 + 1e-4 * rng.standard_normal(p))
    start = continued_pairs(near, rank)[1]
    found, exact = continued_pairs(factors, rank, start)[0][-rank:], leading_pairs(factors, rank)[0]
    return compare(
        "flow",
        "leading modes, from those of the evaluation before",
        f"n·c={n}, p={p}, {rank} modes",
        ours=Side(lambda _: continued_pairs(factors, rank, start)),
        rival=Side(lambda _: leading_pairs(factors, rank)),
        against="block Lanczos from random vectors, as before",
        goal=None,
        errors=(float(np.abs(found / exact - 1).max()), None),
    )


def laws(n: int, width: int, d: int) -> tuple[MeanLaw, MeanLaw, Array]:
    """Of a tanh network near its edge: with as many leading modes as are enough, and with all; and its θ."""
    rng = np.random.default_rng(0)
    inputs, teacher = rng.standard_normal((n, d)), rng.standard_normal((3, d)) / np.sqrt(d)
    network = es.Perceptron(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal(3), width)
    theta, sampling = network.random_start(seed=1), es.WithoutReplacement(8)
    step_size = es.Ramp.of(1.8 / es.mean_square_sharpness(network, theta, sampling, hessian="gauss_newton"))
    few, every = (
        MeanLaw.of(network, theta, sampling, step_size, 1000, 0.1, 0.0, leading)[0] for leading in (FEWEST, None)
    )
    return with_enough_modes(few, theta), every, theta


def diagonal(d: int) -> float:
    """Q_b at the end of a ramp."""
    table = es.data.gaussian(2 * d, d, seed=1)
    network = es.DiagonalLinearNetwork(table.inputs, es.data.interpolating_targets(table.inputs, table.targets))
    theta = es.gradient_flow(network, np.concatenate((np.full(d, 2.0), np.zeros(d))))
    sampling = es.WithoutReplacement(8)
    first = 2.0 / es.mean_square_sharpness(network, theta, sampling, hessian="gauss_newton")
    found = flow.solve(
        network, theta, step_size=es.Ramp(0.8 * first, 1.2 * first), sampling=sampling, n_steps=100_000,
        label_noise=0.03, n_records=2, record=("mean_square_sharpness_gauss_newton",),
    )  # fmt: skip
    return float(found["mean_square_sharpness_gauss_newton"][-1])
