"""Hypothesis strategies: problems of every kind, points, and sampling schemes.

Entries are quarters of small integers, so that duplicates, zeros, ties and exact cancellation come up by themselves and
a failing example can be read. Corners then make the rest happen on purpose, and scales go to 1e±150 for entries of the
inputs (1e±300 for Hessians), which every double-precision square still survives.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError("esssim.testing.strategies needs hypothesis: pip install hypothesis") from error

import esssim as es
from esssim._validate import FloatArray
from esssim.testing.case import Case

KINDS = ("quadratic", "linear regression", "product", "difference 2", "difference 3", "difference 4", "difference 5")
CORNERS = (
    "none",
    "none",
    "duplicated samples",
    "zero sample",
    "all samples equal",
    "degenerate top",
    "unseen coordinate",
)
SCALES = (1.0, 1.0, 1e150, 1e-150)

quarters = st.integers(-8, 8).map(lambda k: k / 4)


def arrays(shape: tuple[int, ...]) -> st.SearchStrategy[FloatArray]:
    return hnp.arrays(np.float64, shape, elements=quarters)


@st.composite
def rows(draw: Any, n: int, d: int, corner: str) -> FloatArray:
    """Inputs (n, d) with the corner applied."""
    inputs = draw(arrays((n, d)))
    if corner == "duplicated samples":
        inputs[-1] = inputs[0]
    elif corner == "zero sample":
        inputs[0] = 0.0
    elif corner == "all samples equal":
        inputs[:] = inputs[0]
    elif corner == "degenerate top":
        inputs = np.eye(d)[np.arange(n) % d] * 1.5
    elif corner == "unseen coordinate":
        inputs[:, 0] = 0.0
    return inputs


@st.composite
def cases(draw: Any, kinds: tuple[str, ...] = KINDS, max_samples: int = 5, max_width: int = 3) -> Case:
    """A problem of one of `kinds` with 1 to max_samples samples, at a point: generic, zero, or where all losses
    vanish.
    """
    kind, corner, scale = draw(st.sampled_from(kinds)), draw(st.sampled_from(CORNERS)), draw(st.sampled_from(SCALES))
    n, d = draw(st.integers(1, max_samples)), draw(st.integers(1, max_width))
    if kind == "quadratic":
        return draw(quadratics(n, d, corner, scale))
    inputs = draw(rows(n, d, corner)) * scale
    width = d if kind == "linear regression" else 2 * d
    theta = draw(arrays((width,))) * draw(st.sampled_from((0.0, 1.0, 1.0, 1.0)))
    targets = draw(arrays((n,))) * scale
    interpolates = draw(st.integers(0, 4)) == 0

    def build(y: FloatArray) -> Any:
        if kind == "linear regression":
            return es.LinearRegression(inputs, y)
        if kind == "product":
            return es.DiagonalLinearNetwork(inputs, y)
        return es.DiagonalLinearNetwork(inputs, y, form="difference", depth=int(kind.split()[1]))

    problem = build(targets)
    if interpolates:
        problem = build(problem.residuals(theta, np.arange(n)) + targets)
    return Case(problem, theta)


@st.composite
def quadratics(draw: Any, n: int, p: int, corner: str, scale: float) -> Case:
    """Symmetric Hessians of any signature, or positive semidefinite."""
    matrices = draw(arrays((n, p, p)))
    matrices = matrices @ matrices.transpose(0, 2, 1) if draw(st.booleans()) else matrices + matrices.transpose(0, 2, 1)
    if corner == "duplicated samples":
        matrices[-1] = matrices[0]
    elif corner == "zero sample":
        matrices[0] = 0.0
    elif corner == "all samples equal":
        matrices[:] = matrices[0]
    elif corner == "degenerate top":
        matrices[:] = np.eye(p) * draw(quarters)
    elif corner == "unseen coordinate":
        matrices[:, 0] = matrices[:, :, 0] = 0.0
    return Case(es.Quadratic(matrices * scale, draw(arrays((n, p)))), draw(arrays((p,))))


@st.composite
def samplings(draw: Any, n_samples: int) -> es.Sampling:
    """A scheme with 1 ≤ b ≤ n, the ends more often than not."""
    b = draw(st.sampled_from((1, n_samples)) | st.integers(1, n_samples))
    return draw(st.sampled_from((es.WithoutReplacement, es.WithReplacement, es.Reshuffled)))(b)


def problems(**how: Any) -> st.SearchStrategy[es.Problem]:
    """The problems of `cases`."""
    return cases(**how).map(lambda case: case.problem)


def points(problem: es.Problem) -> st.SearchStrategy[FloatArray]:
    """A theta (p,) for a problem: quarters of small integers, or zero."""
    return arrays((problem.n_params,)) | st.just(np.zeros(problem.n_params))


@st.composite
def generic_cases(draw: Any, max_samples: int = 5, max_width: int = 3) -> Case:
    """Normal numbers: what is an exact zero in `cases` is rounding here."""
    kind, rng = draw(st.sampled_from(KINDS[:4])), np.random.default_rng(draw(st.integers(0, 10**6)))
    n, d = draw(st.integers(1, max_samples)), draw(st.integers(1, max_width))
    if kind == "quadratic":
        matrices = rng.standard_normal((n, d, d))
        signs = draw(st.booleans())
        matrices = matrices + matrices.transpose(0, 2, 1) if signs else matrices @ matrices.transpose(0, 2, 1)
        return Case(es.Quadratic(matrices, rng.standard_normal((n, d))), rng.standard_normal(d))
    inputs, targets = rng.standard_normal((n, d)), rng.standard_normal(n)
    if kind == "linear regression":
        return Case(es.LinearRegression(inputs, targets), rng.standard_normal(d))
    form: Literal["product", "difference"] = "product" if kind == "product" else "difference"
    return Case(es.DiagonalLinearNetwork(inputs, targets, form=form), rng.standard_normal(2 * d))


@st.composite
def diagonal_cases(draw: st.DrawFn, max_samples: int = 5, max_width: int = 3) -> Case:
    """Quadratics with diagonal Hessians of −1, 0 and 1: the top of a batch changes its axis with the batch."""
    n, p = draw(st.integers(3, max_samples)), draw(st.integers(1, max_width))
    entries = draw(hnp.arrays(np.float64, (n, p), elements=st.sampled_from((0.0, 1.0, -1.0)), fill=st.nothing()))
    return Case(es.Quadratic(entries[:, :, None] * np.eye(p), np.zeros((n, p))), np.zeros(p))


@st.composite
def with_scheme(draw: st.DrawFn, problems: st.SearchStrategy[Case]) -> tuple[Case, es.Sampling]:
    """Cases of one strategy with a scheme each, inside of 1 < b < n as often as at the ends."""
    case = draw(problems)
    n = case.problem.n_samples
    inside = st.sampled_from((es.WithoutReplacement, es.WithReplacement)).flatmap(
        lambda scheme: st.integers(2, n - 1).map(scheme) if n > 2 else st.just(scheme(n))
    )
    return case, draw(inside | samplings(n))


@st.composite
def sampled_cases(draw: st.DrawFn, /, **how: Any) -> tuple[Case, es.Sampling]:
    """A case and a scheme for it."""
    case = draw(cases(**how))
    return case, draw(samplings(case.problem.n_samples))
