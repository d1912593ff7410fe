"""The proofs about the stochastic central flow: each holds, and a wrong formula would be noticed."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import esssim as es
from esssim.flow.fast import FastMotion
from esssim.flow.point import Point
from esssim.flow.slow import velocity

SCRIPT = Path(__file__).parents[1] / "theory/stochastic_central_flow.py"
theory: dict[str, Any] = runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize("proof", theory["PROOFS"], ids=lambda proof: proof.__name__)
def test_proof(proof: Any) -> None:
    proof()


def test_every_proof_is_listed() -> None:
    assert {proof.__name__ for proof in theory["PROOFS"]} == {name for name in theory if name.startswith("prove_")}


@pytest.mark.parametrize(
    ("name", "wrong", "broken"),
    [
        ("kappas", lambda n, b, wr: (sp.Rational(1, n**2), sp.Rational(1, b * n)), "prove_second_moment_recursion"),
        ("general_velocity", lambda j, h, eta, cov: -eta * sp.ones(j.cols, 1), "prove_diagonal_form"),
        ("solve_fast", lambda gram, eta, scheme, source: eta * gram, "prove_stiff_gradient"),
    ],
)
def test_a_wrong_formula_is_noticed(name: str, wrong: Any, broken: str) -> None:
    scope = runpy.run_path(str(SCRIPT))
    proof = scope[broken]
    proof.__globals__[name] = wrong
    with pytest.raises(AssertionError):
        proof()


def test_the_package_computes_what_is_proved() -> None:
    # The exact rational velocity of a small network, against floating point.
    rows = np.array([[2.0, -1.0, 1.0], [1.0, 3.0, -2.0]])
    theta, eta = np.array([0.5, 0.75, 1.0, 0.6, 0.9, 0.7]), 1 / 400
    problem = es.DiagonalLinearNetwork(rows, np.zeros(2), form="difference", depth=3)
    problem = es.DiagonalLinearNetwork(rows, problem.residuals(theta, np.arange(2)), form="difference", depth=3)
    source = np.array([1 / 9, 1 / 4])
    fast = FastMotion.at(Point(problem, theta), es.WithoutReplacement(1), source, eta)
    exact = [sp.Rational(str(w)) for w in theta]
    slopes = [3 * w**2 for w in exact[:3]] + [-3 * w**2 for w in exact[3:]]
    bends = [6 * w for w in exact[:3]] + [-6 * w for w in exact[3:]]
    jacobian = sp.Matrix(2, 6, lambda i, k: sp.Integer(int(rows[i, k % 3])) * slopes[k])
    hessians = [sp.diag(*(sp.Integer(int(rows[i, k % 3])) * bends[k] for k in range(6))) for i in range(2)]
    scheme = theory["kappas"](2, 1, False)
    step = sp.Rational(1, 400)
    cov = theory["solve_fast"](jacobian * jacobian.T, step, scheme, [sp.Rational(1, 9), sp.Rational(1, 4)])
    np.testing.assert_allclose(fast.residual_covariance, np.array(cov, dtype=float), rtol=1e-10)
    expected = np.array(theory["general_velocity"](jacobian, hessians, step, cov), dtype=float).ravel()
    np.testing.assert_allclose(velocity(Point(problem, theta), fast), expected, rtol=1e-9)
