"""The table of all statistics: what they are called, how they are computed, and who proposed them.

Records, tables, claims, pictures and the command line take names, titles, symbols and sources from here. To add a
statistic, write its function and one entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from esssim._validate import FloatArray
from esssim.curvature.scale import power_of_two_near
from esssim.papers import ANDREYEV_V1, ANDREYEV_V3, COHEN, GUR_ARI, KALRA, LEE_JANG, OURS, Paper, Source, ours
from esssim.problems import Problem
from esssim.sampling import Sampling
from esssim.statistics.critical import critical_sharpness, minibatch_critical_sharpness
from esssim.statistics.descent import gradient_along_top
from esssim.statistics.leading import minibatch_top_eigenvalues, top_eigenvalues
from esssim.statistics.mean_square import mean_square_sharpness
from esssim.statistics.minibatch import batch_sharpness, minibatch_sharpness
from esssim.statistics.pointwise import gradient_noise_interaction, interaction_aware_sharpness, sharpness
from esssim.statistics.uncertainty import Estimate

MEAN_SQUARE = "mean_square_sharpness_gauss_newton"
# Before the name of a statistic of P^{−½}HᵢP^{−½}, P the preconditioner of an adaptive method.
PRECONDITIONED = "preconditioned_"
# 2/η_c of a method other than SGD; where it is adaptive, with its preconditioner frozen.
OWN = "own_sharpness"
# Of heavy ball, along its step.
MOMENTUM_BATCH = "momentum_batch_sharpness"


def _everywhere(problem: Problem) -> str:
    return ""


def title_of(name: str) -> str:
    """A recorded name in words: of a statistic, of one of an adaptive method, or of any other variable."""
    if name == OWN:
        return "mean-square sharpness of the method"
    before, key = (
        ("preconditioned ", name.removeprefix(PRECONDITIONED)) if name.startswith(PRECONDITIONED) else ("", name)
    )
    return before + (STATISTICS[key].title if key in STATISTICS else key.replace("_", " "))


@dataclass(frozen=True)
class Statistic:
    """One statistic. key: in records, JSON, CSV and TOML; title: in words; symbol: in formulas; short: in tables.

    compute: (problem, theta, sampling) -> float, or where `sampled` (problem, theta, sampling, *, n_batches, seed) ->
    Estimate. defined: where it has a value; elsewhere compute raises `esssim.Undefined`, and a record is NaN.
    refuses: why a problem cannot have it anywhere, "" for one that can. latex: the symbol as LaTeX, for pages.
    """

    key: str
    title: str
    symbol: str
    short: str
    compute: Callable[..., Any]
    sampled: bool
    defined: str
    source: Source | Paper
    refuses: Callable[[Problem], str] = _everywhere
    latex: str = ""

    @property
    def heading(self) -> str:
        """As a sentence begins: "Sharpness λ_max(H)"; the symbol alone where the title only describes it ("…, ratio of
        …").
        """
        return self.symbol if "," in self.title else f"{self.title[0].upper()}{self.title[1:]} {self.symbol}"

    def measure(
        self,
        problem: Problem,
        theta: FloatArray,
        sampling: Sampling,
        n_batches: int,
        seed: int | np.random.SeedSequence,
    ) -> float | Estimate:
        """Its value at theta, (p,): from n_batches batches where sampled, from all where there are no more."""
        if not self.sampled:
            return float(self.compute(problem, theta, sampling))
        count = None if sampling.has_at_most(problem.n_samples, n_batches) else n_batches
        estimate: Estimate = self.compute(problem, theta, sampling, n_batches=count, seed=seed)
        return estimate


def _pointwise(function: Callable[[Problem, FloatArray], Any]) -> Callable[[Problem, FloatArray, Sampling], float]:
    return lambda problem, theta, sampling: float(function(problem, theta))


def _norm(vector: FloatArray) -> float:
    """‖v‖, by squares that stay in range."""
    unit = power_of_two_near(vector)
    return float(np.linalg.norm(vector / unit)) * unit


def _needs_residuals(problem: Problem) -> str:
    if type(problem).gauss_newton_curvature is not Problem.gauss_newton_curvature:
        return ""
    return f"needs a problem with residuals, {type(problem).__name__} has none"


def _eigenvalues(j: int, ordinal: str) -> tuple[Statistic, Statistic]:
    """λⱼ of H, and of H_B on average."""

    def refuses(problem: Problem) -> str:
        few = problem.n_params < j
        return (
            f"needs a problem with at least {j} parameters, this one has n_params = {problem.n_params}" if few else ""
        )

    def of_batches(problem: Problem, theta: FloatArray, sampling: Sampling, **options: Any) -> Estimate:
        return minibatch_top_eigenvalues(problem, theta, sampling, j, **options)[-1]

    return (
        Statistic(
            key=f"eigenvalue_{j}", title=f"{ordinal} largest eigenvalue", symbol=f"λ_{j}(H)", short=f"λ_{j}",
            compute=_pointwise(lambda problem, theta: top_eigenvalues(problem, theta, j)[-1]),
            sampled=False, defined="always", source=COHEN, refuses=refuses, latex=rf"\lambda_{{{j}}}(H)",
        ),
        Statistic(
            key=f"minibatch_eigenvalue_{j}", title=f"mini-batch {ordinal} largest eigenvalue",
            symbol=f"E_B λ_{j}(H_B)", short=f"mini-batch λ_{j}",
            compute=of_batches, sampled=True, defined="always", source=OURS, refuses=refuses,
            latex=rf"\mathbb{{E}}_B\,\lambda_{{{j}}}(H_B)",
        ),
    )  # fmt: skip


_ALL = (
    Statistic(
        key="loss", title="loss", symbol="L", short="loss",
        compute=_pointwise(lambda problem, theta: problem.loss(theta)),
        sampled=False, defined="always", source=OURS,
        latex=r"L",
    ),
    Statistic(
        key="gradient_norm", title="norm of the full gradient", symbol="‖g‖", short="gradient norm",
        compute=_pointwise(lambda problem, theta: _norm(problem.gradient(theta))),
        sampled=False, defined="always", source=OURS,
        latex=r"\|g\|",
    ),
    Statistic(
        key="sharpness", title="sharpness", symbol="λ_max(H)", short="sharpness",
        compute=_pointwise(sharpness), sampled=False, defined="always", source=COHEN,
        latex=r"\lambda_{\max}(H)",
    ),
    Statistic(
        key="minibatch_sharpness", title="mini-batch sharpness", symbol="E_B λ_max(H_B)", short="MiniBS",
        compute=partial(minibatch_sharpness, draws="uniform"),
        sampled=True, defined="always", source=ANDREYEV_V1,
        latex=r"\mathbb{E}_B\,\lambda_{\max}(H_B)",
    ),
    Statistic(
        key="batch_sharpness", title="batch sharpness", symbol="E[g_BᵀH_Bg_B/‖g_B‖²]", short="batch sharpness",
        compute=partial(batch_sharpness, draws="uniform"),
        sampled=True, defined="where no batch gradient is zero", source=ANDREYEV_V3,
        latex=r"\mathbb{E}\left[\frac{g_B^{\top}H_Bg_B}{\|g_B\|^2}\right]",
    ),
    Statistic(
        key="batch_sharpness_parts", title="batch sharpness, ratio of means", symbol="E[g_BᵀH_Bg_B]/E‖g_B‖²",
        short="ratio of means", compute=partial(batch_sharpness, average="ratio_of_means", draws="uniform"),
        sampled=True, defined="where some batch gradient is not zero", source=ANDREYEV_V3,
        latex=r"\frac{\mathbb{E}[g_B^{\top}H_Bg_B]}{\mathbb{E}\|g_B\|^2}",
    ),
    Statistic(
        key="batch_sharpness_gauss_newton", title="batch sharpness of Gauss–Newton matrices",
        symbol="E[g_BᵀG_Bg_B/‖g_B‖²]", short="batch sharpness (Gauss–Newton)",
        compute=partial(batch_sharpness, hessian="gauss_newton", draws="uniform"),
        sampled=True, defined="where no batch gradient is zero", source=ANDREYEV_V3, refuses=_needs_residuals,
        latex=r"\mathbb{E}\left[\frac{g_B^{\top}G_Bg_B}{\|g_B\|^2}\right]",
    ),
    Statistic(
        key="gradient_noise_interaction", title="gradient–noise interaction", symbol="E_B[g_BᵀHg_B]/‖g‖²", short="GNI",
        compute=gradient_noise_interaction, sampled=False, defined="where the full gradient is not zero",
        source=ANDREYEV_V3,
        latex=r"\frac{\mathbb{E}_B[g_B^{\top}Hg_B]}{\|g\|^2}",
    ),
    Statistic(
        key="interaction_aware_sharpness", title="interaction-aware sharpness", symbol="tr(HG_b)/tr G_b", short="IAS",
        compute=interaction_aware_sharpness, sampled=False, defined="where some batch gradient is not zero",
        source=LEE_JANG,
        latex=r"\frac{\mathrm{tr}(HG_b)}{\mathrm{tr}\,G_b}",
    ),
    Statistic(
        key="mean_square_sharpness", title="mean-square sharpness of the full Hessians", symbol="Q_b",
        short="mean-square sharpness", compute=mean_square_sharpness, sampled=False,
        defined="where H has a positive eigenvalue", source=OURS,
        latex=r"Q_b",
    ),
    Statistic(
        key=MEAN_SQUARE, title="mean-square sharpness", symbol="Q_b (Gauss–Newton)",
        short="mean-square sharpness (Gauss–Newton)", compute=partial(mean_square_sharpness, hessian="gauss_newton"),
        sampled=False, defined="always", source=OURS, refuses=_needs_residuals,
        latex=r"Q_b",
    ),
    Statistic(
        key="critical_sharpness", title="critical sharpness", symbol="λ_c = 2/η_c", short="critical sharpness",
        compute=_pointwise(critical_sharpness), sampled=False, defined="where the full gradient is not zero",
        source=KALRA,
        latex=r"\lambda_c=\frac{2}{\eta_c}",
    ),
    Statistic(
        key="minibatch_critical_sharpness", title="mini-batch critical sharpness", symbol="E_B 2/η_c(B)",
        short="mini-batch critical sharpness", compute=minibatch_critical_sharpness, sampled=True,
        defined="where no batch gradient is zero", source=ours("after Kalra et al., arXiv 2601.16979", KALRA),
        latex=r"\mathbb{E}_B\,\frac{2}{\eta_c(B)}",
    ),
    Statistic(
        key="gradient_along_top", title="share of the gradient along the top eigenvector", symbol="E(uᵀg_B)²/E‖g_B‖²",
        short="gradient along the top", compute=gradient_along_top, sampled=False,
        defined="where some batch gradient is not zero and the largest eigenvalue is simple", source=GUR_ARI,
        latex=r"\frac{\mathbb{E}(u^{\top}g_B)^2}{\mathbb{E}\|g_B\|^2}",
    ),
    *_eigenvalues(2, "second"),
    *_eigenvalues(3, "third"),
)  # fmt: skip

STATISTICS: dict[str, Statistic] = {statistic.key: statistic for statistic in _ALL}
