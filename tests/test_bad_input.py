"""Bad input: one table of calls and one of command lines, each with the one line that it must answer.

A message names the argument, what it was and what it may be. What a bad table file can contain is in test_data.py,
what can befall a saved trace in test_simulation.py.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray

import esssim as es
from esssim import measure
from esssim.claims import Claim, Measurement, Registry
from tests.conftest import Run
from tests.fake_claims import AS_PREDICTED, bare

NAN, INF = math.nan, math.inf
INPUTS = np.arange(10.0).reshape(5, 2) - 4.0
TARGETS = np.array([1.0, -1.0, 2.0, 0.0, 1.0])
THETA = np.array([1.0, 2.0])
REGRESSION = es.LinearRegression(INPUTS, TARGETS)
NETWORK = es.DiagonalLinearNetwork(INPUTS, TARGETS)
QUADRATIC = es.Quadratic([np.eye(2)] * 5, np.zeros((5, 2)))  # every gradient is zero at θ = 0
SADDLE = es.Quadratic([np.diag([1.0, -1.0])] * 5, np.zeros((5, 2)))
HILL = es.Quadratic([-np.eye(2)] * 5, np.zeros((5, 2)))
FLAT = es.Quadratic(np.zeros((5, 2, 2)), np.zeros((5, 2)))
LARGE = es.LinearRegression(np.ones((40, 2)), np.ones(40))
PAIRS = es.WithoutReplacement(2)
TABLE = es.data.gaussian(5, 2, seed=0)
ENSEMBLES = (es.data.gaussian, es.data.orthogonal, es.data.power_law, es.data.spiked, es.data.two_clusters)
SCHEMES = (es.WithoutReplacement, es.WithReplacement, es.Reshuffled)
LAWS = (es.GaussianWeights, es.TwoPointWeights, es.ThreePointWeights, es.FullOrSingle)
STATISTICS = (
    es.batch_sharpness, es.gradient_noise_interaction, es.interaction_aware_sharpness, es.mean_square_sharpness,
    es.minibatch_critical_sharpness, es.minibatch_sharpness,
)  # fmt: skip


# Everything of the gap, the moments and the published edges that takes a problem, a point and a scheme.
POINTWISE: dict[str, Callable[..., object]] = {
    **{
        name: getattr(es.gap, name)
        for name in es.gap.__all__
        if "sampling" in inspect.signature(getattr(es.gap, name)).parameters
    },
    "evolve": lambda problem, theta, sampling: es.moments.evolve(
        problem, theta, step_size=0.1, sampling=sampling, n_steps=2
    ),
    "stationary_covariance": lambda problem, theta, sampling: es.moments.stationary_covariance(
        problem, step_size=0.1, sampling=sampling
    ),
    "interaction_aware_step_size": es.stability.interaction_aware_step_size,
    "noise_kernel_norm": lambda *arguments: es.stability.noise_kernel_norm(*arguments, 0.1),
    "noise_kernel_step_size": es.stability.noise_kernel_step_size,
    "self_stabilisation": lambda *arguments: es.stability.self_stabilisation(*arguments, 0.1),
}


class Bad(NamedTuple):
    """A call, and the message that it must raise: as it stands, or as a pattern for all of it."""

    id: str
    call: Callable[[], object]
    message: str | re.Pattern[str]
    error: type[Exception] = ValueError


@cache
def trace() -> xarray.Dataset:
    return es.simulate(
        REGRESSION, THETA, step_size=0.01, sampling=PAIRS, n_steps=50, n_replicas=2, n_records=20, seed=0
    )


def simulate(**changes: object) -> object:
    arguments = {"problem": REGRESSION, "theta0": THETA, "step_size": 0.01, "sampling": PAIRS, "n_steps": 10, "seed": 0}
    return es.simulate(**(arguments | changes))


def critical(problem: object = REGRESSION, sampling: object = PAIRS, **options: object) -> object:
    return es.stability.critical_step_size(problem, np.zeros(2), sampling, **options)


def escape(problem: es.Problem = REGRESSION, sampling: es.Sampling = PAIRS, **options: Any) -> object:
    how: dict[str, Any] = {"step_size": 0.1, "level": 100.0, "n_steps": 2, **options}
    return es.stability.escape_probability(problem, np.zeros(2), sampling, **how)


def exponent(problem: object = REGRESSION, step_size: object = 0.01, **options: object) -> object:
    return es.stability.lyapunov_exponent(problem, np.zeros(2), PAIRS, step_size, **options)


def claim(name: str, expected: str = "holds") -> Claim:
    return bare(name, expected, lambda quick: Measurement("holds", ""))  # type: ignore[arg-type]


def registered_twice() -> None:
    registry = Registry()
    registry.add(claim("a/b"))
    registry.add(claim("a/b"))


A_POSITIVE_NUMBER = "step_size must be a finite number above 0, got "
A_MOMENTUM = "momentum must be a finite number at least 0 and below 1, got "
LEFT_OUT = "; drop_missing=True (--drop-missing) leaves such rows out"
ONE_HOT = "; encode='one-hot' (--encode one-hot) makes a column of each value"
A_PROBLEM = "problem must be a Problem such as LinearRegression(inputs, targets), got "
A_SCHEME = "sampling must be a Sampling such as WithoutReplacement(8), got "
INDEPENDENT = (
    "sampling must draw independent batches for a threshold (WithoutReplacement or WithReplacement), got Reshuffled"
)
NOT_A_MINIMUM = (
    "theta must be a minimum for a critical step size: H has the eigenvalue -1, so that no step size is stable "
    "(hessian='gauss_newton' leaves the residual part out)"
)

BAD_CALLS = [
    # Problems
    Bad("LinearRegression: NaN", lambda: es.LinearRegression([[NAN, 1.0]], [1.0]), "inputs must be finite, got 1 NaN or infinite entries"),
    Bad("LinearRegression: infinite target", lambda: es.LinearRegression([[1.0]], [INF]), "targets must be finite, got 1 NaN or infinite entries"),
    Bad("LinearRegression: beyond double precision", lambda: es.LinearRegression(np.full((1, 1), np.longdouble("1e4000")), [1.0]), "inputs must be finite, got 1 NaN or infinite entries"),
    Bad("LinearRegression: squares overflow", lambda: es.LinearRegression([[1e155]], [1.0]), "inputs must have a largest entry between 1e-152 and 1e+152, where squares are doubles (rescale them), got 1e+155"),
    Bad("LinearRegression: squares underflow", lambda: es.LinearRegression([[1e-170]], [1.0]), "inputs must have a largest entry between 1e-152 and 1e+152, where squares are doubles (rescale them), got 1e-170"),
    Bad("batch_sharpness: parts at a full-batch minimum", lambda: es.batch_sharpness(es.LinearRegression([[1.0], [1.0]], [1.0, -1.0]), [0.0], es.WithoutReplacement(2), average="ratio_of_means"), "batch_sharpness is 0/0 at theta: the gradient of every batch is zero", es.Undefined),
    Bad("batch_sharpness: parts at a full-batch minimum, drawn", lambda: es.batch_sharpness(es.LinearRegression([[1.0], [1.0]], [1.0, -1.0]), [0.0], es.WithoutReplacement(2), average="ratio_of_means", n_batches=3, seed=0), "batch_sharpness is 0/0 at theta: the gradient of every batch is zero", es.Undefined),
    Bad("LinearRegression: no sample", lambda: es.LinearRegression(np.empty((0, 2)), []), "inputs must not be empty, got shape (0, 2)"),
    Bad("LinearRegression: no column", lambda: es.LinearRegression(np.empty((3, 0)), np.ones(3)), "inputs must not be empty, got shape (3, 0)"),
    Bad("LinearRegression: one axis", lambda: es.LinearRegression([1.0, 2.0], [1.0, 2.0]), "inputs must have shape (n, d), got (2,)"),
    Bad("LinearRegression: target too many", lambda: es.LinearRegression(INPUTS, np.ones(6)), "targets must have shape (5,), got (6,)"),
    Bad("LinearRegression: ragged", lambda: es.LinearRegression([[1, 2], [3]], [1, 2]), "inputs must be an array of numbers, got ragged nested sequences"),
    Bad("LinearRegression: text", lambda: es.LinearRegression([["1", "2"]], [1.0]), "inputs must hold real numbers, got dtype <U1"),
    Bad("LinearRegression: complex", lambda: es.LinearRegression([[1j]], [1.0]), "inputs must hold real numbers, got dtype complex128"),
    Bad("LinearRegression: None", lambda: es.LinearRegression([[1.0, None]], [1.0]), "inputs must hold real numbers, got dtype object"),
    Bad("LinearRegression: masked", lambda: es.LinearRegression(np.ma.masked_array([[1.0, 2.0]], [[True, False]]), [1.0]), "inputs must be complete, got an array with masked entries"),
    Bad("Quadratic: asymmetric", lambda: es.Quadratic([[[1.0, 2.0], [0.0, 1.0]]], [[0.0, 0.0]]), "hessians must be symmetric, got a relative asymmetry of 1"),
    Bad("Quadratic: not square", lambda: es.Quadratic(np.ones((2, 2, 3)), np.ones((2, 2))), "hessians must have shape (n, p, p), got (2, 2, 3)"),
    Bad("Quadratic: one matrix", lambda: es.Quadratic(np.eye(2), np.ones((2, 2))), "hessians must have shape (n, p, p), got (2, 2)"),
    Bad("Quadratic: minimizers", lambda: es.Quadratic([np.eye(2)], np.ones((1, 3))), "minimizers must have shape (1, 2), got (1, 3)"),
    Bad("DiagonalLinearNetwork: form", lambda: es.DiagonalLinearNetwork(INPUTS, TARGETS, form="differnce"), "form must be one of 'product', 'difference', got 'differnce'; did you mean 'difference'?"),
    Bad("DiagonalLinearNetwork: array for a name", lambda: es.DiagonalLinearNetwork(INPUTS, TARGETS, form=np.array(["a", "b"])), "form must be one of 'product', 'difference', got array(['a', 'b'], dtype='<U1')"),
    Bad("LogisticNetwork: labels", lambda: es.problems.LogisticNetwork(INPUTS, np.ones(len(INPUTS))), re.compile("labels must lie between 0 and 1, got 1: .*")),
    Bad("LogisticNetwork: form", lambda: es.problems.LogisticNetwork(INPUTS, np.full(len(INPUTS), 0.5), form="sum"), re.compile("form must be one of .*")),
    Bad("Perceptron: activation", lambda: es.Perceptron(INPUTS, TARGETS, 2, activation="relu"), "activation must be one of 'tanh', 'gelu', got 'relu'; did you mean 'gelu'?"),
    Bad("Perceptron: width", lambda: es.Perceptron(INPUTS, TARGETS, 0), "width must be an integer of at least 1, got 0"),
    Bad("Perceptron: targets", lambda: es.Perceptron(INPUTS, TARGETS[:1], 2), re.compile("targets must have shape .*")),
    Bad("Perceptron: scale", lambda: es.Perceptron(INPUTS, TARGETS, 2).random_start(0, scale=0.0), re.compile("scale must be .*above 0.*")),
    Bad("DiagonalLinearNetwork: depth 1", lambda: es.DiagonalLinearNetwork(INPUTS, TARGETS, form="difference", depth=1), "depth must be an integer of at least 2, got 1"),
    Bad("DiagonalLinearNetwork: depth 3 of products", lambda: es.DiagonalLinearNetwork(INPUTS, TARGETS, depth=3), "depth must be 2 in the product form, got 3; use form='difference'"),
    Bad("Problem.loss: theta of another size", lambda: REGRESSION.loss([1.0]), "theta must have shape (..., 2), got (1,)"),
    Bad("Problem.gradient: theta None", lambda: REGRESSION.gradient(None), "theta must hold real numbers, got dtype object"),
    Bad("Problem.hessian: theta NaN", lambda: REGRESSION.hessian([1.0, NAN]), "theta must be finite, got 1 NaN or infinite entries"),
    Bad("Problem.loss: index n", lambda: REGRESSION.loss(THETA, [0, 5]), "batch must hold indices from 0 to n_samples - 1 = 4, got 0 to 5"),
    Bad("Problem.loss: index -1", lambda: REGRESSION.loss(THETA, [-1, 2]), "batch must hold indices from 0 to n_samples - 1 = 4, got -1 to 2"),
    Bad("Problem.gradient: real indices", lambda: REGRESSION.gradient(THETA, [0.5]), "batch must be an integer array of shape (..., b), got dtype float64, shape (1,)"),
    Bad("Problem.gradient: a mask", lambda: REGRESSION.gradient(THETA, [True, False]), "batch must be an integer array of shape (..., b), got dtype bool, shape (2,)"),
    Bad("Problem.hessian: empty batch", lambda: REGRESSION.hessian(THETA, []), "batch must not be empty, got shape (0,)"),
    Bad("Problem.hessian: ragged batch", lambda: REGRESSION.hessian(THETA, [[0], [1, 2]]), "batch must be an array of numbers, got ragged nested sequences"),
    Bad("Problem.loss: a number for a batch", lambda: REGRESSION.loss(THETA, 3), "batch must be an integer array of shape (..., b), got dtype int64, shape ()"),
    *[
        Bad(f"Problem.{method}: axes of {type(problem).__name__}", lambda problem=problem, method=method: getattr(problem, method)(np.ones((3, problem.n_params)), np.zeros((2, 1), int)), f"theta and batch must have leading axes that broadcast, got the shapes (3, {problem.n_params}) and (2, 1)")
        for problem in (REGRESSION, NETWORK, QUADRATIC) for method in ("loss", "gradient", "hessian")
    ],
    # Sampling
    *[
        Bad(f"{scheme.__name__}: b = {b!r}", lambda scheme=scheme, b=b: scheme(b), f"batch_size must be an integer of at least 1, got {b!r}")
        for scheme in (*SCHEMES, *LAWS) for b in (0, -1, 2.5, 2.0, NAN, "8", True, None, 8 + 0j, np.array([2, 3]))
    ],
    *[
        Bad(f"{scheme.__name__}: b > n", lambda scheme=scheme: scheme(6).check(5), "batch_size must be between 1 and n_samples = 5, got 6")
        for scheme in (es.WithoutReplacement, es.Reshuffled)
    ],
    *[
        Bad(f"{scheme.__name__}: {name} of n = {n!r}", lambda scheme=scheme, call=call, n=n: call(scheme(1), n), f"n_samples must be an integer of at least 1, got {n!r}")
        for scheme in SCHEMES for n in (0, 2.5, "5")
        for name, call in {
            "count": lambda scheme, n: scheme.count(n),
            "enumerate": lambda scheme, n: next(scheme.enumerate(n)),
            "draw": lambda scheme, n: scheme.draw(n, 3, np.random.default_rng(0)),
            "variance_coefficient": lambda scheme, n: scheme.variance_coefficient(n),
            "third_moment_coefficient": lambda scheme, n: scheme.third_moment_coefficient(n),
        }.items()
    ],
    *[
        Bad(f"{scheme.__name__}: a seed for a generator", lambda scheme=scheme: scheme(2).draw(5, 3, 0), "rng must be a Generator such as numpy.random.default_rng(seed), got 0")
        for scheme in SCHEMES
    ],
    *[
        Bad(f"{law.__name__}: {what}", lambda law=law, n=n, m=m, rng=rng: law(2).draw_weights(n, m, rng), message)
        for law in LAWS
        for what, n, m, rng, message in (
            ("b > n", 1, 3, np.random.default_rng(0), "batch_size must be between 1 and n_samples = 1, got 2"),
            ("n = 0", 0, 3, np.random.default_rng(0), "n_samples must be an integer of at least 1, got 0"),
            ("m = −1", 5, -1, np.random.default_rng(0), "n_draws must be an integer of at least 0, got -1"),
            ("a seed for a generator", 5, 3, 0, "rng must be a Generator such as numpy.random.default_rng(seed), got 0"),
        )
    ],
    # Statistics
    Bad("sharpness: an array for a problem", lambda: es.sharpness(np.eye(2), THETA), A_PROBLEM + "array([[1., 0.], [0., 1.]])"),
    Bad("sharpness: two points", lambda: es.sharpness(REGRESSION, [THETA, THETA]), "theta must have shape (2,), got (2, 2)"),
    *[
        Bad(f"{function.__name__}: {what}", lambda function=function, arguments=arguments: function(*arguments), message)
        for function in STATISTICS
        for what, arguments, message in (
            ("no problem", (None, THETA, PAIRS), A_PROBLEM + "None"),
            ("a number for a scheme", (REGRESSION, THETA, 8), A_SCHEME + "8"),
            ("a class for a scheme", (REGRESSION, THETA, es.WithReplacement), A_SCHEME + "<class 'esssim.sampling.WithReplacement'>"),
            ("b > n", (REGRESSION, THETA, es.WithoutReplacement(6)), "batch_size must be between 1 and n_samples = 5, got 6"),
            ("one sample and a pair", (es.LinearRegression([[1.0]], [1.0]), [0.0], PAIRS), "batch_size must be between 1 and n_samples = 1, got 2"),
            ("text for theta", (REGRESSION, "ab", PAIRS), "theta must hold real numbers, got dtype <U2"),
        )
    ],
    Bad("minibatch_sharpness: too many batches", lambda: es.minibatch_sharpness(LARGE, THETA, es.WithoutReplacement(20)), "n_batches must be given: there are 137,846,528,820 batches of 20 among 40 samples, and at most 200,000 are enumerated"),
    Bad("minibatch_sharpness: one batch", lambda: es.minibatch_sharpness(REGRESSION, THETA, PAIRS, n_batches=1), "n_batches must be an integer of at least 2, got 1"),
    Bad("minibatch_sharpness: seed -1", lambda: es.minibatch_sharpness(REGRESSION, THETA, PAIRS, n_batches=4, seed=-1), "seed must be an integer of at least 0, got -1"),
    Bad("minibatch_sharpness: seed as text", lambda: es.minibatch_sharpness(REGRESSION, THETA, PAIRS, seed="0"), "seed must be an integer of at least 0, got '0'"),
    Bad("batch_sharpness: draws", lambda: es.batch_sharpness(REGRESSION, THETA, PAIRS, n_batches=4, draws="share"), "draws must be one of 'shares', 'uniform', got 'share'; did you mean 'shares'?"),
    Bad("batch_sharpness: seed of moments", lambda: es.batch_sharpness(REGRESSION, THETA, PAIRS, average="ratio_of_means", n_batches=4, seed=-1), "seed must be an integer of at least 0, got -1"),
    Bad("Estimate: divisor", lambda: 1 / es.Estimate(0.0, 0.1, 30, False), "the divisor of a quotient must differ from 0: its 95 % interval is [-0.204523, 0.204523]"),
    Bad("batch_sharpness: 0/0", lambda: es.batch_sharpness(QUADRATIC, [0.0, 0.0], PAIRS), "batch_sharpness is 0/0 at theta: the gradient of every sample is zero", es.Undefined),
    Bad("batch_sharpness: one sample fitted", lambda: es.batch_sharpness(REGRESSION, [0.0, 0.0], es.WithoutReplacement(1)), "batch_sharpness is 0/0 at theta: the gradient of batch [3] is zero", es.Undefined),
    Bad("batch_sharpness: average", lambda: es.batch_sharpness(REGRESSION, THETA, PAIRS, average="ratio_of_mean"), "average must be one of 'mean_of_ratios', 'ratio_of_means', got 'ratio_of_mean'; did you mean 'ratio_of_means'?"),
    Bad("gradient_noise_interaction: 0/0", lambda: es.gradient_noise_interaction(QUADRATIC, [0.0, 0.0], PAIRS), "gradient_noise_interaction is 0/0 at theta: the full gradient is zero", es.Undefined),
    Bad("interaction_aware_sharpness: 0/0", lambda: es.interaction_aware_sharpness(QUADRATIC, [0.0, 0.0], PAIRS), "interaction_aware_sharpness is 0/0 at theta: every batch gradient is zero", es.Undefined),
    Bad("mean_square_sharpness: a maximum", lambda: es.mean_square_sharpness(HILL, THETA, PAIRS), "mean_square_sharpness needs a Hessian with a positive eigenvalue at theta, it has none", es.Undefined),
    Bad("mean_square_sharpness: no residuals", lambda: es.mean_square_sharpness(QUADRATIC, THETA, PAIRS, hessian="gauss_newton"), "hessian='gauss_newton' needs a problem with residuals, Quadratic has none"),
    Bad("critical_sharpness: no problem", lambda: es.critical_sharpness(None, THETA), A_PROBLEM + "None"),
    Bad("critical_sharpness: 0/0", lambda: es.critical_sharpness(QUADRATIC, [0.0, 0.0]), "critical_sharpness is 0/0 at theta: the full gradient is zero", es.Undefined),
    Bad("minibatch_critical_sharpness: 0/0", lambda: es.minibatch_critical_sharpness(REGRESSION, [0.0, 0.0], es.WithoutReplacement(1)), "minibatch_critical_sharpness is 0/0 at theta: the gradient of batch [3] is zero", es.Undefined),
    Bad("minibatch_critical_sharpness: seed -1", lambda: es.minibatch_critical_sharpness(REGRESSION, THETA, PAIRS, n_batches=4, seed=-1), "seed must be an integer of at least 0, got -1"),
    Bad("top_eigenvalues: k above p", lambda: es.top_eigenvalues(REGRESSION, THETA, 3), "k must be between 1 and n_params = 2, got 3"),
    Bad("top_eigenvalues: k = 0", lambda: es.top_eigenvalues(REGRESSION, THETA, 0), "k must be an integer of at least 1, got 0"),
    Bad("gradient_along_top: k above p", lambda: es.gradient_along_top(REGRESSION, THETA, PAIRS, 3), "k must be between 1 and n_params = 2, got 3"),
    Bad("gradient_along_top: 0/0", lambda: es.gradient_along_top(QUADRATIC, [0.0, 0.0], PAIRS), "gradient_along_top is 0/0 at theta: every batch gradient is zero", es.Undefined),
    Bad("gradient_along_top: a double eigenvalue", lambda: es.gradient_along_top(QUADRATIC, THETA, PAIRS), "gradient_along_top has no unique projection at theta: eigenvalues 1 and 2 are equal", es.Undefined),
    Bad("one_step_loss_change: step size", lambda: es.one_step_loss_change(REGRESSION, THETA, PAIRS, 0.0), "step_size must be a finite number above 0, got 0.0"),
    Bad("batch_sharpness: hessian", lambda: es.batch_sharpness(REGRESSION, THETA, PAIRS, hessian="gauss"), "hessian must be one of 'full', 'gauss_newton', got 'gauss'"),
    Bad("minibatch_top_eigenvalues: no scheme", lambda: es.minibatch_top_eigenvalues(REGRESSION, THETA, 8, 1), A_SCHEME + "8"),
    Bad("minibatch_top_eigenvalues: b > n", lambda: es.minibatch_top_eigenvalues(REGRESSION, THETA, es.WithoutReplacement(6), 1), "batch_size must be between 1 and n_samples = 5, got 6"),
    Bad("Estimate: confidence", lambda: es.Estimate(1.0, 0.1, 3, False).confidence_interval(95), "confidence must be a finite number above 0 and below 1, got 95"),
    # Stability
    *[
        Bad(f"{function.__name__}: step size {eta!r}", lambda function=function, eta=eta: function(eta), A_POSITIVE_NUMBER + repr(eta))
        for function in (es.stability.edge, es.stability.small_batch_edge)
        for eta in (0, -0.1, NAN, INF, "0.1", True, None, 0.1 + 0j, [0.1], np.array(True), np.array("0.1"), np.array([0.1]))
    ],
    Bad("edge: a number of 400 digits", lambda: es.stability.edge(10**400), A_POSITIVE_NUMBER + "1" + 78 * "0" + "…"),
    *[
        Bad(f"{call.__name__}: momentum {beta!r}", lambda call=call, beta=beta: call(momentum=beta), A_MOMENTUM + repr(beta))
        for call in (critical, exponent, simulate) for beta in (1, 1.0, -0.1, NAN, "0.9")
    ],
    *[
        Bad(f"diagram: {what}", lambda sizes=sizes, options=options: es.stability.diagram(REGRESSION, THETA, sizes, **options), re.compile(message))
        for what, sizes, options, message in (
            ("b = 0", [0], {}, "batch_sizes must .*got .*0.*"),
            ("a scheme that is none", [2], {"scheme": 3}, "scheme must be a class such as WithoutReplacement, got 3"),
            ("one batch", [2], {"n_batches": 1}, "n_batches must be an integer of at least 2, got 1"),
        )
    ],
    Bad("edge: momentum 1", lambda: es.stability.edge(0.1, momentum=1), A_MOMENTUM + "1"),
    Bad("small_batch_edge: momentum -0.1", lambda: es.stability.small_batch_edge(0.1, momentum=-0.1), A_MOMENTUM + "-0.1"),
    *[
        Bad(f"{name}: text for nesterov", lambda call=call: call(nesterov="no"), "nesterov must be True or False, got 'no'")
        for name, call in {
            "edge": lambda **how: es.stability.edge(0.1, **how), "critical_step_size": critical,
            "lyapunov_exponent": exponent, "simulate": simulate,
            "almost_sure_threshold": lambda **how: es.stability.almost_sure_threshold(REGRESSION, THETA, PAIRS, **how),
        }.items()
    ],
    *(
        Bad(f"{law.__name__}: {b!r}", lambda law=law, b=b: law(b), re.compile(f"batch_size must be an integer.*, got {b}"))
        for law in (es.IsotropicNoise, es.DiagonalNoise) for b in (0, 2.5)
    ),
    Bad("critical_step_size: isotropic noise, almost surely", lambda: critical(sampling=es.IsotropicNoise(2), criterion="almost_sure"), "criterion must be 'mean_square' for a GradientNoise, got 'almost_sure'"),
    Bad("interaction_aware_step_size: no scheme", lambda: es.stability.interaction_aware_step_size(REGRESSION, THETA, 2), A_SCHEME + "2"),
    Bad("noise_kernel_norm: zero step size", lambda: es.stability.noise_kernel_norm(REGRESSION, np.zeros(2), PAIRS, 0.0), A_POSITIVE_NUMBER + "0.0"),
    Bad("noise_kernel_step_size: unknown approximation", lambda: es.stability.noise_kernel_step_size(REGRESSION, np.zeros(2), PAIRS, approximation="diag"), re.compile(r"approximation must be one of 'diagonal', 'high_dimensional', 'trace', got 'diag'.*")),
    *(
        Bad(f"{function.__name__}: no scheme", lambda function=function: function(REGRESSION, np.zeros(2), 2), A_SCHEME + "2")
        for function in (es.stability.contraction_step_size, es.stability.alignment_step_size, es.stability.scalar_closure_step_size)
    ),
    Bad("scalar_closure_step_size: tau_1", lambda: es.stability.scalar_closure_step_size(REGRESSION, np.zeros(2), PAIRS, tau_1=0.0), "tau_1 must be a finite number above 0, got 0.0"),
    Bad("coherence_step_size: batch size", lambda: es.stability.coherence_step_size(REGRESSION, np.zeros(2), 6), "batch_size must be between 1 and n_samples = 5, got 6"),
    Bad("zeroth_order_step_size: a saddle", lambda: es.stability.zeroth_order_step_size(SADDLE, np.zeros(2)), NOT_A_MINIMUM),
    Bad("zeroth_order_step_size: momentum on batches", lambda: es.stability.zeroth_order_step_size(REGRESSION, np.zeros(2), PAIRS, momentum=0.5), "momentum must be 0 and preconditioner None on batches: their edge is known without both"),
    *(
        Bad(f"{method.__name__}: {name}", lambda method=method, name=name, value=value: method(**{name: value}), f"{name} must be a finite number {allowed}, got {value}")
        for method in (es.RMSProp, es.Adam)
        for name, value, allowed in (("decay", 1.0, "at least 0 and below 1"), ("epsilon", 0.0, "above 0"))
    ),
    Bad("Adam: momentum", lambda: es.Adam(momentum=1.0), "momentum must be a finite number at least 0 and below 1, got 1.0"),
    Bad("simulate: adaptive, a word", lambda: simulate(adaptive="adam"), "adaptive must be a PreconditionedMethod such as RMSProp(), got 'adam'"),
    Bad("simulate: adaptive, momentum", lambda: simulate(adaptive=es.RMSProp(), momentum=0.5), "momentum must be 0 with adaptive=RMSProp(decay=0.99, epsilon=1e-08), got 0.5; Adam has one of its own"),
    Bad("simulate: adaptive, zeroth order", lambda: simulate(adaptive=es.Adam(), sampling=es.ZerothOrder(PAIRS)), "sampling must draw batches for an adaptive method, got ZerothOrder(sampling=WithoutReplacement(batch_size=2))"),
    Bad("simulate: adaptive, own sharpness of epochs", lambda: simulate(adaptive=es.Adam(), sampling=es.Reshuffled(2), record=["own_sharpness"]), "record 'own_sharpness' needs independent batches, got Reshuffled(batch_size=2)"),
    Bad("simulate: own sharpness of SGD", lambda: simulate(record=["own_sharpness"]), re.compile(r"record must be one of 'loss', .*, got 'own_sharpness'.*")),
    Bad("preconditioned: zero", lambda: es.problems.preconditioned(REGRESSION, [1.0, 0.0]), "preconditioner must be above 0, its smallest entry is 0"),
    Bad("preconditioned: no problem", lambda: es.problems.preconditioned("regression", [1.0]), A_PROBLEM + "'regression'"),
    Bad("ZerothOrder: no scheme", lambda: es.ZerothOrder(8), A_SCHEME + "8"),
    Bad("ZerothOrder: random weights", lambda: es.ZerothOrder(es.TwoPointWeights(8)), "sampling must draw batches for zeroth-order descent, got TwoPointWeights(batch_size=8)"),
    Bad("simulate: zeroth order, own sharpness with momentum", lambda: simulate(sampling=es.ZerothOrder(PAIRS), momentum=0.5, record=["own_sharpness"]), "record 'own_sharpness' needs momentum 0 under ZerothOrder(sampling=WithoutReplacement(batch_size=2)), got 0.5: its edge is not known"),
    Bad("simulate: zeroth order, own sharpness of epochs", lambda: simulate(sampling=es.ZerothOrder(es.Reshuffled(2)), record=["own_sharpness"]), "record 'own_sharpness' needs independent batches, got Reshuffled(batch_size=2)"),
    Bad("QuadraticModel: no problem", lambda: es.problems.QuadraticModel(None, THETA), re.compile("problem must be a.*got None.*")),
    Bad("QuadraticModel: shape", lambda: es.problems.QuadraticModel(REGRESSION, np.zeros(3)), "theta must have shape (2,), got (3,)"),
    Bad("QuadraticModel: no residuals", lambda: es.problems.QuadraticModel(SADDLE, np.zeros(2), hessian="gauss_newton"), "hessian='gauss_newton' needs a problem with residuals, Quadratic has none"),
    Bad("Dropout: no scheme", lambda: es.Dropout(8, 0.1), A_SCHEME + "8"),
    Bad("Dropout: random weights", lambda: es.Dropout(es.TwoPointWeights(8), 0.1), "sampling must draw batches for dropout, got TwoPointWeights(batch_size=8)"),
    Bad("Dropout: rate", lambda: es.Dropout(PAIRS, 1.0), "rate must be a finite number above 0 and below 1, got 1.0"),
    Bad("simulate: dropout of a quadratic", lambda: es.simulate(SADDLE, np.zeros(2), sampling=es.Dropout(PAIRS, 0.1), step_size=0.1, n_steps=1), "problem must be linear regression or a diagonal network for dropout, got Quadratic"),
    Bad("simulate: dropout, own sharpness of epochs", lambda: simulate(sampling=es.Dropout(es.Reshuffled(2), 0.1), record=["own_sharpness"]), "record 'own_sharpness' needs independent batches, got Reshuffled(batch_size=2)"),
    Bad("simulate: dropout, own sharpness with momentum", lambda: simulate(sampling=es.Dropout(PAIRS, 0.1), momentum=0.5, record=["own_sharpness"]), re.compile(r"record 'own_sharpness' needs momentum 0 under Dropout\(.*, got 0.5: its edge is not known")),
    Bad("simulate: adaptive, dropout", lambda: simulate(adaptive=es.Adam(), sampling=es.Dropout(PAIRS, 0.1)), re.compile("sampling must draw batches for an adaptive method, got Dropout.*")),
    Bad("dropout_step_size: rate", lambda: es.stability.dropout_step_size(REGRESSION, np.zeros(2), PAIRS, 0.0), "rate must be a finite number above 0 and below 1, got 0.0"),
    Bad("dropout_step_size: quadratic", lambda: es.stability.dropout_step_size(SADDLE, np.zeros(2), PAIRS, 0.1), "problem must be linear regression or a diagonal network, got Quadratic"),
    Bad("dropout_step_size: random weights", lambda: es.stability.dropout_step_size(REGRESSION, np.zeros(2), es.TwoPointWeights(2), 0.1), "sampling must draw batches for dropout, got TwoPointWeights(batch_size=2)"),
    Bad("momentum_batch_sharpness: velocity", lambda: es.momentum_batch_sharpness(REGRESSION, np.zeros(2), np.zeros(3), PAIRS, momentum=0.5), "velocity must have shape (2,), got (3,)"),
    Bad("momentum_batch_sharpness: momentum", lambda: es.momentum_batch_sharpness(REGRESSION, np.zeros(2), np.zeros(2), PAIRS, momentum=1.0), A_MOMENTUM + "1.0"),
    Bad("momentum_batch_sharpness: random weights", lambda: es.momentum_batch_sharpness(REGRESSION, np.zeros(2), np.zeros(2), es.TwoPointWeights(2), momentum=0.5), "sampling must draw batches for momentum_batch_sharpness, got TwoPointWeights(batch_size=2)"),
    Bad("simulate: momentum batch sharpness without momentum", lambda: simulate(record=["momentum_batch_sharpness"]), re.compile(r"record must be one of 'loss', .*, got 'momentum_batch_sharpness'.*")),
    Bad("SharpnessAware: no scheme", lambda: es.SharpnessAware(8, 0.1), A_SCHEME + "8"),
    Bad("SharpnessAware: random weights", lambda: es.SharpnessAware(es.TwoPointWeights(8), 0.1), "sampling must draw batches for sharpness-aware steps, got TwoPointWeights(batch_size=8)"),
    Bad("SharpnessAware: radius", lambda: es.SharpnessAware(PAIRS, 0.0), "radius must be a finite number above 0, got 0.0"),
    Bad("SharpnessAware: normalised", lambda: es.SharpnessAware(PAIRS, 0.1, "no"), re.compile("normalised must be .*got 'no'")),
    Bad("simulate: sharpness-aware, own sharpness with the norm", lambda: simulate(sampling=es.SharpnessAware(PAIRS, 0.1), record=["own_sharpness"]), "record 'own_sharpness' needs normalised=False, got SharpnessAware(sampling=WithoutReplacement(batch_size=2), radius=0.1, normalised=True): no edge of it is known on batches"),
    Bad("simulate: sharpness-aware, own sharpness of epochs", lambda: simulate(sampling=es.SharpnessAware(es.Reshuffled(2), 0.1, False), record=["own_sharpness"]), "record 'own_sharpness' needs independent batches, got Reshuffled(batch_size=2)"),
    Bad("simulate: adaptive, sharpness-aware", lambda: simulate(adaptive=es.Adam(), sampling=es.SharpnessAware(PAIRS, 0.1)), re.compile("sampling must draw batches for an adaptive method, got SharpnessAware.*")),
    Bad("sharpness_aware_edge: radius", lambda: es.stability.sharpness_aware_edge(0.1, -1.0), "radius must be a finite number above 0, got -1.0"),
    Bad("sharpness_aware_edge: gradient norm", lambda: es.stability.sharpness_aware_edge(0.1, 1.0, gradient_norm=0.0), "gradient_norm must be a finite number above 0, got 0.0"),
    Bad("sharpness_aware_step_size: radius", lambda: es.stability.sharpness_aware_step_size(REGRESSION, np.zeros(2), PAIRS, NAN), "radius must be a finite number above 0, got nan"),
    Bad("sharpness_aware_step_size: a saddle", lambda: es.stability.sharpness_aware_step_size(SADDLE, np.zeros(2), es.WithoutReplacement(1), 0.1), NOT_A_MINIMUM),
    Bad("sharpness_aware_step_size: random weights", lambda: es.stability.sharpness_aware_step_size(REGRESSION, np.zeros(2), es.TwoPointWeights(2), 0.1), "sampling must draw batches for sharpness-aware steps, got TwoPointWeights(batch_size=2)"),
    Bad("sharpness_aware_step_size: too many batches", lambda: es.stability.sharpness_aware_step_size(es.Quadratic([np.eye(1)] * 39 + [2 * np.eye(1)], np.zeros((40, 1))), [0.0], es.WithoutReplacement(20), 0.1), "sampling must have at most 500,000 batches where samples are not single rows, got 137,846,528,820 (hessian='gauss_newton' needs none of a network of one output)"),
    Bad("critical_step_size: zeroth order", lambda: es.stability.critical_step_size(REGRESSION, np.zeros(2), es.ZerothOrder(PAIRS)), A_SCHEME + "ZerothOrder(sampling=WithoutReplacement(batch_size=2))"),
    Bad("zeroth_order_step_size: preconditioner", lambda: es.stability.zeroth_order_step_size(REGRESSION, np.zeros(2), preconditioner=[1.0, 0.0]), "preconditioner must be above 0, its smallest entry is 0"),
    Bad("preconditioned_step_size: shape", lambda: es.stability.preconditioned_step_size(REGRESSION, np.zeros(2), PAIRS, [1.0]), "preconditioner must have shape (2,), got (1,)"),
    Bad("preconditioned_step_size: weight decay", lambda: es.stability.preconditioned_step_size(REGRESSION, np.zeros(2), PAIRS, [1.0, 1.0], weight_decay=-0.1), "weight_decay must be a finite number at least 0, got -0.1"),
    Bad("self_stabilisation: NaN step size", lambda: es.stability.self_stabilisation(REGRESSION, THETA, PAIRS, NAN), A_POSITIVE_NUMBER + "nan"),
    Bad("heavy_ball_ends: momentum 1", lambda: es.stability.heavy_ball_ends(1.0, 1.0), A_MOMENTUM + "1.0"),
    *[
        Bad(f"{name}: {words}", lambda call=call, arguments=arguments: call(*arguments), message)
        for name, call in POINTWISE.items()
        for words, arguments, message in (
            ("no problem", (None, THETA, PAIRS), re.compile("problem must be a.*got None.*")),
            ("theta None", (REGRESSION, None, PAIRS), re.compile("theta0? must hold real numbers, got dtype object")),
            ("theta of another size", (REGRESSION, np.ones(3), PAIRS), re.compile(r"theta0? must have shape \(2,\), got \(3,\)")),
            ("two thetas", (REGRESSION, np.ones((2, 2)), PAIRS), re.compile(r"theta0? must have shape \(2,\), got \(2, 2\)")),
            ("theta NaN", (REGRESSION, [1.0, NAN], PAIRS), re.compile("theta0? must be finite, got 1 NaN or infinite entries")),
            ("a number for a scheme", (REGRESSION, THETA, 2), A_SCHEME + "2"),
            ("b > n", (REGRESSION, THETA, es.WithoutReplacement(6)), "batch_size must be between 1 and n_samples = 5, got 6"),
        )
        if not (name == "stationary_covariance" and words.startswith(("theta", "two")))
    ],
    Bad("scaling_exponents: a scheme for its class", lambda: es.gap.scaling_exponents(REGRESSION, THETA, [1, 2], PAIRS), f"scheme must be a class such as WithoutReplacement, got {PAIRS!r}"),
    *[
        Bad(f"{name}: text for nesterov", lambda call=call: call(nesterov="no"), "nesterov must be True or False, got 'no'")
        for name, call in {
            "evolve": lambda **how: es.moments.evolve(REGRESSION, THETA, step_size=0.1, sampling=PAIRS, n_steps=2, **how),
            "stationary_covariance": lambda **how: es.moments.stationary_covariance(REGRESSION, step_size=0.1, sampling=PAIRS, **how),
        }.items()
    ],
    Bad("evolve: a network", lambda: es.moments.evolve(NETWORK, np.ones(4), step_size=0.1, sampling=PAIRS, n_steps=5), re.compile(r"problem must .*DiagonalLinearNetwork.*")),
    Bad("stationary_covariance: negative step size", lambda: es.moments.stationary_covariance(REGRESSION, step_size=-1.0, sampling=PAIRS), A_POSITIVE_NUMBER + "-1.0"),
    Bad("gap.bounds: too large a batch", lambda: es.gap.bounds(REGRESSION, np.zeros(2), es.WithoutReplacement(99)), re.compile(r"batch_size must be between 1 and n_samples = \d+, got 99")),
    Bad("gap.predict: theta of the wrong shape", lambda: es.gap.predict(REGRESSION, np.zeros(3), PAIRS), "theta must have shape (2,), got (3,)"),
    Bad("gap.joint: too large a batch", lambda: es.gap.joint(REGRESSION, np.zeros(2), es.WithoutReplacement(99)), re.compile(r"batch_size must be between 1 and n_samples = \d+, got 99")),
    Bad("gap.confidence_bounds: level 1", lambda: es.gap.confidence_bounds(REGRESSION, np.zeros(2), PAIRS, level=1.0), "level must be a finite number above 0 and below 1, got 1.0"),
    Bad("gap.confidence_bounds: one batch", lambda: es.gap.confidence_bounds(REGRESSION, np.zeros(2), PAIRS, n_batches=1), "n_batches must be an integer of at least 2, got 1"),
    Bad("gap.confidence_bounds: a word for a seed", lambda: es.gap.confidence_bounds(REGRESSION, np.zeros(2), PAIRS, seed="zero"), "seed must be an integer of at least 0, got 'zero'"),
    Bad("gap.second_order: no problem", lambda: es.gap.second_order(None, np.zeros(2), PAIRS), A_PROBLEM + "None"),
    Bad("critical_step_size: a saddle", lambda: critical(SADDLE), NOT_A_MINIMUM),
    Bad("critical_step_size: away from the minimum", lambda: es.stability.critical_step_size(NETWORK, 3 * np.ones(4), PAIRS), re.compile(r"theta must be a minimum for a critical step size: H has the eigenvalue -\d.*")),
    Bad("critical_step_size: Reshuffled", lambda: critical(sampling=es.Reshuffled(2)), INDEPENDENT),
    Bad("critical_step_size: a number for a scheme", lambda: critical(sampling=2), A_SCHEME + "2"),
    Bad("critical_step_size: no problem", lambda: critical("regression"), A_PROBLEM + "'regression'"),
    Bad("critical_step_size: criterion", lambda: critical(criterion="meansquare"), "criterion must be one of 'mean_square', 'almost_sure', got 'meansquare'; did you mean 'mean_square'?"),
    Bad("critical_step_size: seed", lambda: critical(seed=1.5), "seed must be an integer of at least 0, got 1.5"),
    Bad("almost_sure_threshold: Reshuffled", lambda: es.stability.almost_sure_threshold(REGRESSION, THETA, es.Reshuffled(2)), INDEPENDENT),
    Bad("almost_sure_threshold: a saddle", lambda: es.stability.almost_sure_threshold(SADDLE, THETA, PAIRS), NOT_A_MINIMUM),
    Bad("almost_sure_threshold: replicas", lambda: es.stability.almost_sure_threshold(REGRESSION, THETA, PAIRS, n_replicas=1), "n_replicas must be an integer of at least 2, got 1"),
    Bad("lyapunov_exponent: step size 0", lambda: exponent(step_size=0.0), A_POSITIVE_NUMBER + "0.0"),
    Bad("lyapunov_exponent: steps", lambda: exponent(n_steps=1), "n_steps must be an integer of at least 10, got 1"),
    Bad("lyapunov_exponent: no seed", lambda: exponent(seed=None), "seed must be an integer of at least 0, got None"),
    Bad("lyapunov_exponent: no curvature", lambda: exponent(FLAT), "theta must have a nonzero Hessian for a Lyapunov exponent, every sample's is zero"),
    *[
        Bad(f"escape_probability: {words}", lambda how=how: escape(**how), message)
        for words, how, message in (
            ("step size 0", {"step_size": 0.0}, A_POSITIVE_NUMBER + "0.0"),
            ("a level below the loss", {"level": 1e-3}, "level must be above the loss at theta0, 0.7, got 0.001"),
            ("no level", {"level": None}, "level must be a finite number above 0, got None"),
            ("no steps", {"n_steps": 0}, "n_steps must be an integer of at least 1, got 0"),
            ("one particle", {"n_particles": 1}, "n_particles must be an integer of at least 2, got 1"),
            ("one repetition", {"n_repetitions": 1}, "n_repetitions must be an integer of at least 2, got 1"),
            ("label noise without targets", {"problem": QUADRATIC, "label_noise": 0.1}, "label_noise must be 0 for a problem without targets, got 0.1"),
            ("Reshuffled", {"sampling": es.Reshuffled(2)}, "sampling must draw independent batches for an escape (WithoutReplacement or WithReplacement), got Reshuffled"),
            ("a number for a scheme", {"sampling": 2}, A_SCHEME + "2"),
            ("no problem", {"problem": None}, A_PROBLEM + "None"),
        )
    ],
    # Simulation
    *[
        Bad(f"Ramp: {start!r} to {stop!r}", lambda start=start, stop=stop: es.Ramp(start, stop), message)
        for start, stop, message in (
            (0, 0.1, "start must be a finite number above 0, got 0"),
            (0.1, -0.1, "stop must be a finite number above 0, got -0.1"),
            (NAN, 0.1, "start must be a finite number above 0, got nan"),
            (0.1, INF, "stop must be a finite number above 0, got inf"),
            ("0.1", 0.2, "start must be a finite number above 0, got '0.1'"),
        )
    ],
    Bad("Ramp: shape", lambda: es.Ramp(0.1, 0.2, "linaer"), "shape must be one of 'linear', 'geometric', got 'linaer'; did you mean 'linear'?"),
    Bad("Ramp: no step", lambda: es.Ramp(0.1, 0.2).at([0, 1], 0), "n_steps must be an integer of at least 1, got 0"),
    *[
        Bad(f"simulate: step size {eta!r}", lambda eta=eta: simulate(step_size=eta), A_POSITIVE_NUMBER + repr(eta))
        for eta in (0, -0.1, NAN, "0.1", (0.1, 0.2))
    ],
    *[
        Bad(f"simulate: {name} = {value!r}", lambda name=name, value=value: simulate(**{name: value}), f"{name} must be {allowed}, got {value!r}")
        for name, value, allowed in (
            ("n_steps", 0, "an integer of at least 1"), ("n_steps", 10.0, "an integer of at least 1"),
            ("n_replicas", 0, "an integer of at least 1"), ("n_workers", 0, "an integer of at least 1"),
            ("n_records", 0, "an integer of at least 1"), ("n_batches", 1, "an integer of at least 2"),
            ("seed", None, "an integer of at least 0"), ("seed", -1, "an integer of at least 0"),
            ("label_noise", -0.1, "a finite number at least 0"), ("label_noise", NAN, "a finite number at least 0"),
            ("record", "loss", "a sequence of names"), ("record", None, "a sequence of names"),
            ("record_steps", [3, 2], "increasing integers"), ("record_steps", [], "increasing integers"),
            ("record_steps", [1.0, 2.0], "increasing integers"),
        )
    ],
    Bad("simulate: an empty array of records", lambda: simulate(record_steps=np.array([], dtype=int)), "record_steps must be increasing integers, got array([], dtype=int64)"),
    Bad("simulate: records past the end", lambda: simulate(record_steps=[0, 11]), "record_steps must lie between 0 and n_steps = 10, got 0 to 11"),
    Bad("simulate: steps for another name", lambda: simulate(record=["loss"], record_steps={"sharpness": [0]}), "record_steps must have steps for each of ['loss'], got ['sharpness']"),
    Bad("simulate: steps for some names", lambda: simulate(record=["loss", "theta"], record_steps={"loss": [0]}), "record_steps must have steps for each of ['loss', 'theta'], got ['loss']"),
    Bad("simulate: steps for nothing", lambda: simulate(record=[], record_steps={}), "record_steps must have steps for each of [], got []"),
    Bad("simulate: wrong steps for a name", lambda: simulate(record=["loss"], record_steps={"loss": [3, 2]}), "record_steps must be increasing integers, got [3, 2]"),
    Bad("simulate: None for the steps of a name", lambda: simulate(record=["loss"], record_steps={"loss": None}), "record_steps must have steps for each name, got None"),
    Bad("simulate: no steps for a name", lambda: simulate(record=["loss"], record_steps={"loss": []}), "record_steps must be increasing integers, got []"),
    Bad("simulate: ragged records", lambda: simulate(record_steps=[[1], [2, 3]]), "record_steps must be an array of numbers, got ragged nested sequences"),
    Bad("simulate: records as a long array", lambda: simulate(record_steps=np.arange(500)[::-1]), re.compile(r"record_steps must be increasing integers, got array\(\[499, 498, .{50,70}…")),
    Bad("simulate: unknown record", lambda: simulate(record=["minibach_sharpness"]), re.compile(r"record must be one of 'loss', .*, got 'minibach_sharpness'; did you mean 'minibatch_sharpness'\?")),
    Bad("simulate: a number for a record", lambda: simulate(record=[1]), re.compile(r"record must be one of 'loss', .*, got 1")),
    Bad("simulate: residuals that there are none of", lambda: simulate(problem=QUADRATIC, record=["mean_square_sharpness_gauss_newton"]), "record 'mean_square_sharpness_gauss_newton' needs a problem with residuals, Quadratic has none"),
    Bad("simulate: label noise without targets", lambda: simulate(problem=QUADRATIC, label_noise=0.1), "label_noise must be 0 without targets (Quadratic), got 0.1"),
    Bad("simulate: a start too many", lambda: simulate(theta0=np.ones((3, 2)), n_replicas=2), "theta0 must have shape (2,) or (n_replicas, n_params) = (2, 2), got (3, 2)"),
    Bad("simulate: start of another size", lambda: simulate(theta0=np.ones(3)), "theta0 must have shape (..., 2), got (3,)"),
    Bad("simulate: start at infinity", lambda: simulate(theta0=[INF, 0.0]), "theta0 must be finite, got 1 NaN or infinite entries"),
    Bad("simulate: no problem", lambda: simulate(problem=INPUTS[:1]), A_PROBLEM + "array([[-4., -3.]])"),
    Bad("simulate: a number for a scheme", lambda: simulate(sampling=2), A_SCHEME + "2"),
    Bad("simulate: b > n", lambda: simulate(sampling=es.Reshuffled(6)), "batch_size must be between 1 and n_samples = 5, got 6"),
    Bad("gradient_flow: start of another size", lambda: es.gradient_flow(REGRESSION, [1.0]), "theta0 must have shape (2,), got (1,)"),
    Bad("gradient_flow: tolerance", lambda: es.gradient_flow(REGRESSION, THETA, gradient_tolerance=0), "gradient_tolerance must be a finite number above 0, got 0"),
    Bad("gradient_flow: no problem", lambda: es.gradient_flow(None, THETA), A_PROBLEM + "None"),
    Bad("gradient_flow: no minimum", lambda: es.gradient_flow(HILL, THETA), "gradient_flow did not reach a minimum from theta0: it escapes to infinity", RuntimeError),
    *(
        Bad(f"{flow.__name__}: {what}", lambda flow=flow, bad=bad: flow(**({"problem": REGRESSION, "theta0": THETA, "step_size": 0.01, "n_steps": 2} | bad)), message)
        for flow in (es.flow.central_flow, es.flow.edge_flow, es.flow.rod_flow)
        for what, bad, message in (
            ("no problem", {"problem": None}, A_PROBLEM + "None"),
            ("start of another size", {"theta0": [1.0]}, "theta0 must have shape (2,), got (1,)"),
            ("no step", {"step_size": 0.0}, A_POSITIVE_NUMBER + "0.0"),
            ("no steps", {"n_steps": 0}, "n_steps must be an integer of at least 1, got 0"),
            ("one record", {"n_records": 1}, "n_records must be an integer of at least 2, got 1"),
            ("no substep", {"substeps": 0}, "substeps must be an integer of at least 1, got 0"),
        )
    ),
    Bad("edge_flow: no oscillation", lambda: es.flow.edge_flow(REGRESSION, THETA, step_size=0.01, n_steps=2, smallest=0.0), "smallest must be a finite number above 0, got 0.0"),
    Bad("rod_flow: no oscillation", lambda: es.flow.rod_flow(REGRESSION, THETA, step_size=0.01, n_steps=2, smallest=0.0), "smallest must be a finite number above 0, got 0.0"),
    # Settling
    Bad("level: unknown statistic", lambda: es.settling.level(trace(), "sharpnes"), "statistic must be one of 'loss', 'sharpness', got 'sharpnes'; did you mean 'sharpness'?"),
    Bad("level: nothing recorded", lambda: es.settling.level(trace().drop_vars(["loss", "sharpness"]), "sharpness"), "trace must have a recorded statistic, got none (asked for 'sharpness')"),
    Bad("level: no trace", lambda: es.settling.level(REGRESSION.inputs, "sharpness"), re.compile(r"trace must be a Dataset such as simulate returns, got array\(.*")),
    Bad("level: a foreign Dataset", lambda: es.settling.level(xarray.Dataset({"loss": (("replica", "record"), np.ones((2, 9)))}), "loss"), "trace must be what simulate returns, got a Dataset without step, step_size, diverged_at"),
    Bad("level: a window without records", lambda: es.settling.level(trace(), "loss", after=1e9), "after must leave at least 6 records, got 1e+09, which leaves 0"),
    Bad("level: after", lambda: es.settling.level(trace(), "loss", after=-1), "after must be a finite number at least 0, got -1"),
    Bad("level: after NaN", lambda: es.settling.level(trace(), "loss", after=NAN), "after must be a finite number at least 0, got nan"),
    Bad("level: tolerance", lambda: es.settling.level(trace(), "loss", tolerance=0), "tolerance must be a finite number above 0, got 0"),
    Bad("level: target", lambda: es.settling.level(trace(), "loss", target="1"), "target must be a finite number, got '1'"),
    Bad("level: undefined records", lambda: es.settling.level(trace().assign(loss=trace()["loss"].where(trace()["step"] != 0)), "loss"), "statistic 'loss' must be finite from step 0 on, got 2 undefined records"),
    # Data
    *[
        Bad(f"{ensemble.__name__}: {name} = {value!r}", lambda ensemble=ensemble, name=name, value=value: ensemble(**({"n_samples": 3, "n_features": 5, "seed": 0} | {name: value})), f"{name} must be {allowed}, got {value!r}")
        for ensemble in ENSEMBLES
        for name, value, allowed in (
            ("n_samples", 0, "an integer of at least 1"), ("n_features", 2.5, "an integer of at least 1"),
            ("noise", -1.0, "a finite number at least 0"), ("noise", NAN, "a finite number at least 0"),
            ("seed", -1, "an integer of at least 0"), ("seed", None, "an integer of at least 0"),
        )
    ],
    Bad("orthogonal: more rows than columns", lambda: es.data.orthogonal(5, 4, seed=0), "n_samples must be between 1 and n_features = 4, got 5"),
    Bad("spiked: spike", lambda: es.data.spiked(3, 3, seed=0, spike=-1.0), "spike must be a finite number above -1, got -1.0"),
    Bad("two_clusters: separation", lambda: es.data.two_clusters(3, 3, seed=0, separation=-0.1), "separation must be a finite number at least 0, got -0.1"),
    Bad("power_law: exponent", lambda: es.data.power_law(3, 3, seed=0, exponent=INF), "exponent must be a finite number at least 0, got inf"),
    Bad("Data: targets too few", lambda: es.data.Data(np.ones((3, 1)), np.ones(2)), "targets must have shape (3,), got (2,)"),
    Bad("Data: NaN", lambda: es.data.Data([[NAN]], [1.0]), "inputs must be finite, got 1 NaN or infinite entries"),
    Bad("Data: names too few", lambda: es.data.Data(np.ones((3, 2)), np.ones(3), "t", ("a",)), "feature_names must hold one name for each of 2 columns, got 1"),
    Bad("Data: a string for names", lambda: es.data.Data(np.ones((3, 2)), np.ones(3), "t", "ab"), "feature_names must be a sequence of names, got 'ab'"),
    Bad("interpolating_targets: targets too many", lambda: es.data.interpolating_targets(np.ones((3, 1)), np.ones(4)), "targets must have shape (3,), got (4,)"),
    Bad("data.load: unknown name", lambda: es.data.load("wines"), "name must be one of 'diabetes', 'breast_cancer', 'wine', 'digits', got 'wines'; did you mean 'wine'?"),
    Bad("read_table: text in a column", lambda: es.data.read_table("text.csv", "y"), "column 'x' of text.csv must hold numbers, got 'red' in row 2 (line 3)" + ONE_HOT),
    Bad("read_table: a hole", lambda: es.data.read_table("hole.csv", "y"), "column 'x' of hole.csv must have no missing entry, got one in row 2 (line 3)" + LEFT_OUT),
    Bad("read_table: unknown column", lambda: es.data.read_table("text.csv", "why"), "target must be a column of text.csv: 'x', 'y'; got 'why'"),
    Bad("read_table: damaged", lambda: es.data.read_table("damaged.parquet", "y"), re.compile(r"damaged\.parquet must be a readable parquet table: .*")),
    Bad("read_table: unknown format", lambda: es.data.read_table("table.xlsx", "y"), "path must end in .csv, .tsv, .txt, .parquet, .npz, got 'table.xlsx'"),
    Bad("read_table: missing", lambda: es.data.read_table("missing.csv", "y"), "path must be an existing file, got 'missing.csv'", FileNotFoundError),
    Bad("read_table: a folder", lambda: es.data.read_table("folder.npz", "y"), "path must be an existing file, got 'folder.npz'", FileNotFoundError),
    Bad("read_table: a number", lambda: es.data.read_table(3, "y"), "path must be the path of a file, got 3"),
    # Files
    Bad("save: no folder", lambda: es.save(trace(), "nowhere/trace.nc"), "path must lie in a writable folder, got 'nowhere/trace.nc': No such file or directory"),
    Bad("save: below a file", lambda: es.save(trace(), "text.csv/trace.nc"), "path must lie in a writable folder, got 'text.csv/trace.nc': Not a directory"),
    Bad("save: onto a folder", lambda: es.save(trace(), "folder.npz"), "path must name a file, got the folder 'folder.npz'"),
    Bad("save: no trace", lambda: es.save({"loss": 1.0}, "trace.nc"), "trace must be a Dataset such as simulate returns, got {'loss': 1.0}"),
    Bad("load: missing", lambda: es.load("missing.nc"), "path must name a saved trace, there is no file 'missing.nc'"),
    Bad("load: foreign", lambda: es.load("text.csv"), "path must name a saved trace, 'text.csv' is none or is damaged: its checksum does not match"),
    Bad("load: empty", lambda: es.load("empty.nc"), "path must name a saved trace, 'empty.nc' is none or is damaged: its checksum does not match"),
    Bad("load: null character", lambda: es.load("a\0b"), re.compile("path must be the path of a file, without a null character, got .*")),
    Bad("load: None", lambda: es.load(None), "path must be the path of a file, got None"),
    # Claims
    Bad("verify: unknown", lambda: es.claims.verify(["mean-square-edg"]), re.compile(r"claim must be one of 'minibs-at-least-sharpness', .*, … \(\d+ names\), got 'mean-square-edg'; did you mean 'mean-square-edge'\?")),
    Bad("verify: a string for a list", lambda: es.claims.verify("imbalance"), "names must be a list of claim ids or families, got the string 'imbalance'"),
    Bad("Registry: an id twice", registered_twice, "claim id must be new, 'a/b' is registered already"),
    Bad("Claim: expectation", lambda: claim("a/b", "hold"), "verdict must be one of 'holds', 'refuted', 'open', got 'hold'; did you mean 'holds'?"),
    Bad("Measurement: verdict", lambda: Measurement("true", ""), "verdict must be one of 'holds', 'refuted', 'inconclusive', 'skipped', got 'true'"),
    # Measure
    Bad("measure_table: an array", lambda: measure.measure_table(INPUTS[:1]), "table must be a Data such as data.load returns, got array([[-4., -3.]])"),
    Bad("measure_table: model", lambda: measure.measure_table(TABLE, model="netwrk"), "model must be one of 'regression', 'network', 'mlp', got 'netwrk'; did you mean 'network'?"),
    Bad("measure_table: b > n", lambda: measure.measure_table(TABLE, batch_sizes=[1, 6]), "batch_size must be between 1 and n_samples = 5, got 6"),
    Bad("measure_table: no batch size", lambda: measure.measure_table(TABLE, batch_sizes=[]), "batch_sizes must be a sequence of at least one integer, got []"),
    Bad("measure_table: a number for batch sizes", lambda: measure.measure_table(TABLE, batch_sizes=2), "batch_sizes must be a sequence of at least one integer, got 2"),
    Bad("load_table: unknown name", lambda: measure.load_table("winee", None), "table must be one of 'diabetes', 'breast_cancer', 'wine', 'digits', got 'winee'; did you mean 'wine'? (or give a .csv, .tsv, .txt, .parquet or .npz file)"),
    Bad("load_table: the separator of a bundled table", lambda: measure.load_table("wine", None, separator=";"), "separator is for .csv, .tsv and .txt files, got the table 'wine'"),
    Bad("read_table: the encoding of a parquet file", lambda: es.data.read_table("damaged.parquet", "y", encoding="latin-1"), "encoding is for .csv, .tsv and .txt files, got the table 'damaged.parquet'"),
    Bad("load_table: None", lambda: measure.load_table(None, None), "table must be the path of a file, got None"),
    Bad("write_measurement: no folder", lambda: measure.write_measurement(Path("nowhere"), measure.measure_table(TABLE, batch_sizes=[5]), {}), "path must lie in a writable folder, got 'nowhere/measure.json': No such file or directory"),
]  # fmt: skip


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """A working folder with files that are no good, and their names: a test may add to `results` only."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.csv").write_text("x,y\n1,2\nred,3\n")
    (tmp_path / "hole.csv").write_text("x,y\n1,2\n,3\n")
    (tmp_path / "numbers.csv").write_text("1,2\n3,4\n5,7\n")
    (tmp_path / "good.csv").write_text("x,y\n1,2\n2,3\n4,1\n")
    (tmp_path / "damaged.parquet").write_text("nonsense")
    (tmp_path / "empty.nc").touch()
    (tmp_path / "folder.npz").mkdir()
    before = {path.name for path in tmp_path.rglob("*")}
    yield before
    after = {path.name for path in tmp_path.rglob("*") if "results" not in path.parts}
    assert after == before


@pytest.mark.parametrize("bad", BAD_CALLS, ids=[bad.id for bad in BAD_CALLS])
def test_a_bad_call_is_answered_in_one_line(bad: Bad, files: set[str]) -> None:
    with pytest.raises(bad.error) as caught:
        bad.call()
    message = str(caught.value)
    assert type(caught.value) is bad.error
    assert "\n" not in message
    assert len(message) < 500
    if isinstance(bad.message, str):
        assert message == bad.message
    else:
        assert bad.message.fullmatch(message), message


def test_every_row_has_its_own_name() -> None:
    assert len({bad.id for bad in BAD_CALLS}) == len(BAD_CALLS) >= 80


def test_every_public_function_is_in_the_table() -> None:
    public = {
        name
        for module in (es, es.data, es.stability, measure)
        for name, item in ((name, getattr(module, name)) for name in getattr(module, "__all__", dir(module)))
        if callable(item) and (module is not measure or item.__module__.startswith(measure.__name__))
        if not name.startswith("_")
    }
    # Bases that cannot be made, results that only the package makes, and what takes nothing but such a result.
    results = {
        "Problem",
        "Sampling",
        "RandomWeights",
        "GradientNoise",
        "EscapeProbability",
        "Threshold",
        "HeavyBallEnds",
        "SelfStabilisation",
        "HeavyTailWarning",
        "Undefined",
        "Statistic",
    }
    results |= {"BatchSizeRow", "TableMeasurement", "picture"}
    covered = {re.split(r"[:.]", bad.id.removeprefix("data."))[0] for bad in BAD_CALLS}
    assert public - results - covered == set()


# What looks bad and is none


def test_one_sample_is_no_error() -> None:
    alone = es.LinearRegression([[3.0, 4.0]], [1.0])
    for sampling in (es.WithoutReplacement(1), es.WithReplacement(2), es.Reshuffled(1)):
        for function in (es.minibatch_sharpness, es.batch_sharpness, es.mean_square_sharpness):
            assert float(function(alone, [1.0, 1.0], sampling)) == pytest.approx(25.0)
    assert es.stability.critical_step_size(alone, [0.0, 0.0], es.WithReplacement(1)) == pytest.approx(0.08)


def test_a_diverging_run_is_marked_and_never_averaged() -> None:
    problem = es.DiagonalLinearNetwork([[1.0], [1.0]], [1.0, 1.0])
    starts, eta = np.array([[0.5, 0.5], [100.0, 100.0], [2.0, 1.0]]), 0.01
    trace = es.simulate(
        problem,
        starts,
        step_size=eta,
        sampling=es.WithoutReplacement(2),
        n_steps=60,
        n_replicas=3,
        n_records=61,
        seed=0,
    )
    # Full batches: gradient descent, u ← u − η(uv − 1)v and likewise v, by hand.
    u = v = 100.0
    step = 0
    while abs((u * v - 1) * u) <= 1e100:
        u, v, step = u - eta * (u * v - 1) * v, v - eta * (u * v - 1) * u, step + 1
    assert trace["diverged_at"].values.tolist() == [-1, step, -1]
    assert 1 < step < 60
    finite = np.isfinite(trace["loss"].values)
    assert finite[[0, 2]].all()
    assert finite[1].tolist() == [k < step for k in range(61)]
    level = es.settling.level(trace, "sharpness")
    assert level == replace(es.settling.level(trace.isel(replica=[0, 2]), "sharpness"), n_diverged=1)
    assert level.n_replicas == 2
    lost = es.settling.level(trace.isel(replica=[1]), "sharpness")
    assert (lost.verdict, lost.reason) == ("inconclusive", "every replica diverged")
    assert (lost.n_replicas, lost.n_diverged, lost.ess) == (0, 1, 0.0)
    assert all(math.isnan(number) for number in (lost.value, *lost.interval, lost.drift))


# Command lines


def out_is_no_folder(folder: str, why: str) -> str:
    return f"out must be a folder that can be written to, got '{folder}': {why}"


ALL_TABLES = "'diabetes', 'breast_cancer', 'wine', 'digits'"
GOOD = ("measure", "good.csv", "--target", "y")
A_CLAIM = r"claim must be one of 'minibs-at-least-sharpness', .*, … \(\d+ names\), got "
BAD_LINES: list[tuple[str, str | re.Pattern[str]]] = [
    ("measure", "Missing argument 'TABLE'."),
    ("measure missing.csv --target y", "path must be an existing file, got 'missing.csv'"),
    ("measure folder.npz --target y", "path must be an existing file, got 'folder.npz'"),
    ("measure table.xlsx --target y", "path must end in .csv, .tsv, .txt, .parquet, .npz, got 'table.xlsx'"),
    ("measure damaged.parquet --target y", re.compile(r"damaged\.parquet must be a readable parquet table: .*")),
    ("measure text.csv --target y", "column 'x' of text.csv must hold numbers, got 'red' in row 2 (line 3)" + ONE_HOT),
    ("measure hole.csv --target y", "column 'x' of hole.csv must have no missing entry, got one in row 2 (line 3)" + LEFT_OUT),
    ("measure diabets", f"table must be one of {ALL_TABLES}, got 'diabets'; did you mean 'diabetes'? (or give a .csv, .tsv, .txt, .parquet or .npz file)"),
    ("measure .", f"table must be one of {ALL_TABLES}, got '.' (or give a .csv, .tsv, .txt, .parquet or .npz file)"),
    ("measure good.csv", "target must name a column of good.csv, got none (--target COLUMN)"),
    ("measure good.csv --target", "Option '--target' requires an argument."),
    ("measure good.csv --target why", "target must be a column of good.csv: 'x', 'y'; got 'why'"),
    ("measure good.csv --target yy", "target must be a column of good.csv: 'x', 'y'; got 'yy'; did you mean 'y'?"),
    ("measure diabetes --target bmj", re.compile(r"target must be one of 'target', 'age', .*, got 'bmj'; did you mean 'bmi'\?")),
    ("measure good.csv --target y --batch-size 0", "batch_size must be an integer of at least 1, got 0"),
    ("measure good.csv --target y --batch-size 4", "batch_size must be between 1 and n_samples = 3, got 4"),
    ("measure good.csv --target y --batch-size 1 --batch-size -1", "batch_size must be an integer of at least 1, got -1"),
    ("measure good.csv --target y --batch-size two", re.compile("Invalid value for '--batch-size': .*")),
    ("measure good.csv --target y --batch-size nan", re.compile("Invalid value for '--batch-size': .*")),
    ("measure good.csv --target y --batches 1", "batches must be an integer of at least 2, got 1"),
    ("measure good.csv --target y --seed -1", "seed must be an integer of at least 0, got -1"),
    ("measure good.csv --target y --seed 1.5", re.compile("Invalid value for '--seed': .*")),
    ("measure good.csv --target y --model netwrk", "model must be one of 'regression', 'network', 'mlp', got 'netwrk'; did you mean 'network'?"),
    ("measure good.csv --target y --json --batch-size 9", "batch_size must be between 1 and n_samples = 3, got 9"),
    ("measure good.csv --target y --sep ab", "separator must be one character, or 'tab', got 'ab'"),
    ("measure good.csv --target y --sep a", "separator must be one character, or 'tab', got 'a'"),
    ("measure good.csv --target y --decimal ;", "decimal must be one of '.', ',', got ';'"),
    ("measure good.csv --target y --decimal , --thousands ,", "decimal and thousands must differ, got ',' for both"),
    ("measure good.csv --target y --thousands 0", "thousands must be one character, or 'tab', got '0'"),
    ("measure good.csv --target y --encoding utf-9", "encoding must be one that Python knows, got 'utf-9'"),
    ("measure good.csv --target y --sep ;", re.compile(r"target must be a column of good.csv: 'x,y'; got 'y'.*\(--sep\).*")),
    ("measure diabetes --sep ;", "separator is for .csv, .tsv and .txt files, got the table 'diabetes'"),
    ("measure damaged.parquet --target y --no-header", "header is for .csv, .tsv and .txt files, got the table 'damaged.parquet'"),
    ("measure numbers.csv --target x1", re.compile("numbers.csv must be a readable csv table: line 1 must hold the names .*--no-header.*")),
    ("measure good.csv --target y --colour", re.compile("No such option: --colour.*")),
    ("measure good.csv other.csv --target y", "Got unexpected extra argument(s) (other.csv)"),
    ("measure good.csv --target y --out text.csv", out_is_no_folder("text.csv", "File exists")),
    ("measure good.csv --target y --out text.csv/below", out_is_no_folder("text.csv/below", "Not a directory")),
    ("verify nonsense", re.compile(A_CLAIM + "'nonsense'")),
    ("verify mean-square-edg", re.compile(A_CLAIM + r"'mean-square-edg'; did you mean 'mean-square-edge'\?")),
    ("verify imbalance nonsense --json", re.compile(A_CLAIM + "'nonsense'")),
    ("verify --list nonsense", re.compile(A_CLAIM + "'nonsense'")),
    ("verify imbalance --out text.csv", out_is_no_folder("text.csv", "File exists")),
    ("verify --quik", re.compile("No such option: --quik.*")),
    ("cite imbalanc", re.compile(A_CLAIM + r"'imbalanc'; did you mean 'imbalance'\?")),
    ("cite imbalance nonsense", "Got unexpected extra argument(s) (nonsense)"),
    ("verfy", re.compile(r"No such command 'verfy'\..*")),
    ("--verison", re.compile("No such option: --verison.*")),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), BAD_LINES, ids=[line for line, _ in BAD_LINES])
def test_a_bad_command_line_is_answered_in_one_line(
    line: str, message: str | re.Pattern[str], run: Run, files: set[str], tmp_path: Path
) -> None:
    words = line.split()
    takes_folder = words[0] in ("measure", "verify") and "--out" not in words and words[-1] != "--target"
    code, out, error = run(*words, *(["--out", "results"] if takes_folder else []))
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.endswith("\n")
    assert error.count("\n") == 1
    said = error[len("error: ") : -1]
    assert said == message if isinstance(message, str) else message.fullmatch(said), said
    assert not [path for path in (tmp_path / "results").rglob("*") if path.is_file()]


def test_a_result_that_cannot_be_written_leaves_the_others_whole(run: Run, files: set[str], tmp_path: Path) -> None:
    (tmp_path / "results" / "measure.json").mkdir(parents=True)
    code, out, error = run(*GOOD, "--out", "results")
    assert (code, out) == (2, "")
    assert error.splitlines()[-1] == "error: path must name a file, got the folder 'results/measure.json'"
    assert "Traceback" not in error
    assert [path.name for path in (tmp_path / "results").rglob("*")] == ["measure.json"]


def test_verdicts_that_cannot_be_written(
    run: Run, files: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    registry.add(AS_PREDICTED[0])
    monkeypatch.setattr(es.claims, "registry", registry)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "claims").touch()
    code, out, error = run("verify", "--out", "results")
    assert (code, out) == (2, "")
    assert error.splitlines()[-1] == "error: " + out_is_no_folder("results", "File exists")
    assert "Traceback" not in error
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"claims", "verdicts.jsonl"}
