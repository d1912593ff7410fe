"""Mutation testing: does the suite notice when a formula is wrong?

    python -m tests.mutation [problems] [data] [spectra] [statistics] [sampling] [stability] [settling] [gap] [moments]
                             [flow] [simulation] [--sample N] [--seed S] [--part K/N] [--only PATTERN] [--workers N]
                             [--json FILE] [--list | --equivalent]

Each mutant is one small error in one place: a constant doubled (0→1, 1→2, 2→3), n for n−1, + for −, × for ÷, a power for a
product, a sign dropped, a comparison turned or moved by its boundary, min for max, `and` for `or`, a condition negated, or
the coefficients of one sampling scheme given to another. It is written into a copy of the package, where the tests of that
module then run, those first that killed a mutant lately. A mutant that some test fails on is killed; so is one with which a
test takes over five minutes, or all of them ten times as long as without it. Exit code 0 where 90 % of each module's
mutants die, 1 where fewer do, 2 where the tests cannot run.

`EQUIVALENT` lists the places where an error of this kind is none, each with its reason: they are not counted. --list shows
them; --equivalent runs them instead of the others, and exits with 1 if one dies, because that one is an error after all.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue

import pytest

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = 0.9
PATIENCE, SHORTEST_TIMEOUT = 10.0, 60.0
# Seconds for one test: three times as long as the slowest takes on a busy machine.
LONGEST_TEST = 300


@dataclass(frozen=True)
class Module:
    """Source files (globs below esssim/) and the test files that answer for them, quickest first."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]


MODULES = {
    "problems": Module(
        (
            "problems/*.py",
            "_kernels/perceptron.py",
            "_kernels/logistic.py",
            "_kernels/multilayer.py",
        ),
        (
            "tests/test_once.py",
            "tests/test_quadratic_model.py",
            "tests/test_single_precision.py",
            "tests/test_user_problems.py",
            "tests/test_logistic_network.py",
            "tests/test_bridge_training.py",
            "tests/test_bad_input.py",
            "tests/test_simulation.py",
            "tests/test_battery.py",
            "tests/test_escape.py",
            "tests/test_adaptive.py",
            "tests/test_testing.py",
        ),
    ),
    "data": Module(("data/*.py",), ("tests/test_data.py", "tests/test_text_tables.py")),
    "simulation": Module(
        (
            "simulation/*.py",
            "_kernels/sgd.py",
            "_kernels/keeping.py",
            "_kernels/noisy.py",
            "_kernels/noisy_layers.py",
            "_kernels/weighted.py",
            "_kernels/adaptive.py",
            "_kernels/dropout.py",
            "_kernels/sharpness_aware.py",
            "_kernels/zeroth_order.py",
            "_phases.py",
        ),
        (
            "tests/test_record_phases.py",
            "tests/test_fast_paths.py",
            "tests/test_descent.py",
            "tests/test_adaptive.py",
            "tests/test_dropout.py",
            "tests/test_sharpness_aware.py",
            "tests/test_zeroth_order.py",
            "tests/test_gradient_noise.py",
            "tests/test_random_weights.py",
            "tests/test_bridge_gradient_noise.py",
            "tests/test_simulation.py",
            "tests/test_bad_input.py",
        ),
    ),
    "spectra": Module(
        ("spectra/*.py", "_kernels/secular.py", "_kernels/certified.py", "_kernels/eigenvalue.py"),
        ("tests/test_batched_lanczos.py", "tests/test_fast_paths.py", "tests/test_spectra.py"),
    ),
    "statistics": Module(
        ("statistics/*.py", "_kernels/gradient_forms.py", "_kernels/layout.py", "_kernels/shares.py"),
        (
            "tests/test_block_perron.py",
            "tests/test_perron.py",
            "tests/test_estimate.py",
            "tests/test_descent.py",
            "tests/test_critical_sharpness.py",
            "tests/test_top_eigenvalues.py",
            "tests/test_momentum_batch_sharpness.py",
            "tests/test_statistics_table.py",
            "tests/test_fast_paths.py",
            "tests/test_heavy_tails.py",
            "tests/test_random_weights.py",
            "tests/test_any_size.py",
            "tests/test_statistics.py",
        ),
    ),
    "sampling": Module(("sampling.py", "_kernels/sampling.py"), ("tests/test_sampling.py",)),
    "stability": Module(
        ("stability/*.py", "_kernels/lyapunov.py"),
        (
            "tests/test_sufficient_edges.py",
            "tests/test_escape.py",
            "tests/test_published.py",
            "tests/test_stability.py",
            "tests/test_dropout.py",
            "tests/test_sharpness_aware.py",
            "tests/test_gradient_noise.py",
            "tests/test_zeroth_order.py",
            "tests/test_adaptive.py",
            "tests/test_stability_map.py",
        ),
    ),
    "settling": Module(("settling.py",), ("tests/test_settling.py",)),
    "gap": Module(
        ("gap/*.py",),
        (
            "tests/test_gap_rounding.py",
            "tests/test_gap_joint.py",
            "tests/test_gap_predictions.py",
            "tests/test_gap_bounds.py",
        ),
    ),
    "moments": Module(("moments/*.py",), ("tests/test_moments.py",)),
    "flow": Module(
        ("flow/*.py", "_kernels/fast_motion.py"),
        (
            "tests/test_flow_modes.py",
            "tests/test_flow_rivals.py",
            "tests/test_flow_continued.py",
            "tests/test_flow_corners.py",
            "tests/test_flow_bursts.py",
            "tests/test_flow_outputs.py",
            "tests/test_flow_next_order.py",
            "tests/test_theory_flow.py",
            "tests/test_flow_chains.py",
            "tests/test_flow.py",
        ),
    ),
}

# (file, pattern in "line of source # change", reason): where an error is none. Nothing else is left out.
ROUTES = "speed only: either route gives the same numbers, which the tests check separately"
TOLERANCE = "a numerical tolerance or cap: another value of this size is as right"
SCALE = "a power of two for range only: LAPACK scales by itself, or any neighbouring power serves"
BOUNDARY = "the two sides of this boundary agree, or no double lies on it"
EQUIVALENT: tuple[tuple[str, str, str], ...] = (
    ("_kernels/sampling.py", r"RESHUFFLED = .*# 2 → 3", "a name for a scheme: any third integer"),
    (
        "_kernels/sampling.py",
        r"^swaps = batches\[0\]\.copy\(\) .* # (0 → 1|1 → 2)",
        "only the shape of the row is used, its content is overwritten",
    ),
    (
        "esssim/sampling.py",
        r"\.reshape\(-1, batch_size\) # 1 → 2",
        "numpy reads any negative length as the unknown one",
    ),
    ("_kernels/certified.py", r"→ norms\[k\] < UNSEEN|→ norms\[k\] >= UNSEEN", BOUNDARY),
    ("_kernels/certified.py", r"^if attempt > 0 and .* # 0 → 1", "speed only: one round more before the certificate"),
    (
        "_kernels/eigenvalue.py",
        r"^estimate\[lane\] = .* # \(mean.*… → ",
        "where the search begins, lower by some roundings: it stops there or goes on to the same root",
    ),
    ("_kernels/secular.py", r"^if not step > ENOUGH .* # (ENOUGH|.* → step >= )", TOLERANCE),
    ("spectra/lanczos.py", r"^SEEDED: ", "any seed"),
    ("spectra/lanczos.py", r"tolerance=max\(tolerance, 1e-12\).* # max → min", TOLERANCE),
    ("_kernels/secular.py", r"^(POWER_STEPS|MAX_ITERATIONS|UNSEEN) = ", TOLERANCE),
    ("_kernels/secular.py", r"^if not largest > 0\.0: # ", "where Newton's method begins: the root is the same"),
    ("_kernels/secular.py", r"norms\[k\] > UNSEEN → norms\[k\] >= |norms\[k\] <= UNSEEN → norms\[k\] < ", BOUNDARY),
    (
        "_kernels/secular.py",
        r"top_seen == -np\.inf: # -np\.inf → np\.inf",
        "the dense fallback then finds the same value",
    ),
    ("_kernels/secular.py", r"# (step > .* → step >= |4\.0 \* EPS \* tau → 4\.0 \* EPS / tau|4\.0 → 8\.0)", TOLERANCE),
    ("_kernels/secular.py", r"<= 1e-8 # (1e-08 → |abs\(mu - 1\.0\) <= 1e-08 → abs\(mu - 1\.0\) < )", TOLERANCE),
    ("_kernels/secular.py", r"^projection\[k\] \+= .* → projection\[k\] -= ", "its sign is lost in the square"),
    (
        "_kernels/eigenvalue.py",
        r"^new_bend = .* # 2\.0 → 3|^discriminant = .* # size - 1 → size \+ 1|^step = size / .* # 0\.0 → 1",
        "other steps of Laguerre's method, towards the same root",
    ),
    ("_kernels/secular.py", r"^largest = np\.abs\(u\)\.max\(\) # ", "the scale of a vector whose quotient is taken"),
    ("_kernels/eigenvalue.py", r"^LANES = ", "speed only: how many matrices lie side by side"),
    (
        "_kernels/eigenvalue.py",
        r"np\.empty\(\(2, size, LANES\)\).* # 2 → 3",
        "scratch memory: what is too much is never read",
    ),
    ("_kernels/eigenvalue.py", r"^moving = 0\.0 # ", "speed only: idle rounds after the last lane has stopped"),
    ("_kernels/eigenvalue.py", r"^size = matrices\.shape\[0\] # 0 → 1", "the matrices are square"),
    ("spectra/gram.py", r"^GRAM_NUMBERS = ", "a budget of numbers, not a formula"),
    ("_kernels/eigenvalue.py", r"^v\[lane\] = v0 if .* # 0\.0 → 1", "its factor tau is zero there"),
    ("_kernels/eigenvalue.py", r"→ step >= 0\.0", BOUNDARY),
    ("_kernels/eigenvalue.py", r"→ smallest\[lane\] >= 0\.0|→ b < p ", BOUNDARY),
    ("_kernels/lyapunov.py", r"^SMALLEST, LARGEST = ", TOLERANCE),
    (
        "_kernels/lyapunov.py",
        r"^PROJECT_EVERY = |^if \(t \+ 1\) % PROJECT_EVERY .* # (t \+ 1 → |\(t \+ 1\) % PROJECT_EVERY == 0 → )",
        "how often, and at which steps, rounding is projected away: any is right that keeps it small",
    ),
    ("_kernels/lyapunov.py", r"^total \+= basis.* → total -= ", "the sign of the whole state cancels in its norm"),
    (
        "_kernels/lyapunov.py",
        r"^log_scale, log_start = ",
        "the first cancels in the difference of two logarithms, the second is overwritten after the burn-in",
    ),
    ("spectra/largest.py", r"^if batches\.shape\[1\] == 1 and .* # len", ROUTES),
    ("spectra/dense.py", r"^last = .* # 0 → 1", "the matrix is square"),
    (
        "spectra/dense.py",
        r"# np\.abs\(matrix\)\.max → |np\.frexp\(largest\).* # (largest > 0 → |0 → 1|np|1 → 2|1\.0 → 2)",
        SCALE,
    ),
    ("spectra/gram.py", r"# b > |^elif _gram_pays|^return shape\[0\] \*\* 2 .* # (?!1 → 2)", ROUTES),
    ("spectra/gram.py", r"^product = scaled @ .* # (0 → 1|scaled\.shape\[0\] <= )", ROUTES),
    (
        "spectra/batched_lanczos.py",
        r"^FIRST_LOOK = |^stride = .* # (3|6) → ",
        "speed only: how often a basis is looked at",
    ),
    ("spectra/batched_lanczos.py", r"^rounding = 8 |^done = .* # (0\.5 → |estimates <= .* → estimates < )", TOLERANCE),
    ("spectra/secular.py", r"factors\.shape\[0\]\) # 0 → 1", "speed only: full batches are solved once"),
    ("spectra/gram.py", r"> LARGEST_IN_LANES → .* >= LARGEST_IN_LANES", ROUTES),
    ("spectra/lanczos.py", r"^size = operator\.shape\[0\] # 0 → 1", "the operator is square"),
    ("spectra/lanczos.py", r"seed: int = 0, # 0 → 1", "any seed"),
    (
        "spectra/lanczos.py",
        r"→ np\.linalg\.norm\(image_first\) / np",
        "one of two terms of a tolerance, smaller then by the number of coordinates: the other one remains",
    ),
    ("spectra/lanczos.py", r"size <= 3: .*# (size <= 3 → size < 3|3 → 6)", ROUTES),
    (
        "spectra/lanczos.py",
        r"ncv=min\(size, (40|12)\).*# (min|40|12|8) ",
        "speed only: the number of Lanczos vectors, which scipy limits to the size",
    ),
    ("spectra/lanczos.py", r"residual <= .* → residual < ", BOUNDARY),
    (
        "spectra/secular.py",
        r"^exponents = .* # (_exponents|1 → 2|2 → 3)|^return np\.where.* # (0\.0 → 1|1000 → 2000)",
        SCALE,
    ),
    ("settling.py", r"→ _r_hat\(series\) >= DISAGREEING_R_HAT", BOUNDARY),
    ("settling.py", r'get\("n_samples", 0\) # 0 → 1', "only without a scheme, whose periods need no number of samples"),
    ("stability/linearised.py", r"^(NEGATIVE|NOISE)_TOLERANCE = ", TOLERANCE),
    ("stability/linearised.py", r"→ noise < NOISE_TOLERANCE", BOUNDARY),
    (
        "stability/published.py",
        r"^lower = below .* # 2 → 3|# (1e-300|4e-15) → ",
        "where the search begins and ends: the root is the same",
    ),
    (
        "stability/published.py",
        r"np\.empty\(\(0, 0\)\) # 0 → 1",
        "never read: the other approximations need no squares",
    ),
    ("stability/lyapunov.py", r"→ lower / WALK", "where the walk begins: it passes the start again on its way up"),
    (
        "stability/lyapunov.py",
        r"^LOWEST_RATE = .* # 100",
        "stands for −∞ in a root search: any rate far below every other",
    ),
    (
        "stability/lyapunov.py",
        r"# rate\(lower\) > 0 → rate\(lower\) >= |# rate\(upper\) <= 0 → rate\(upper\) < ",
        BOUNDARY,
    ),
    ("stability/lyapunov.py", r"crossing\(.* # (1e-08|0\.0001) → ", TOLERANCE),
    ("stability/mean_square.py", r"# (1e-12|1e-13|1e-300|4e-15) → ", TOLERANCE),
    (
        "stability/mean_square.py",
        r"^(upper, lower = limit .* # 2 → 3|upper, lower = lower, .* # 4 → 8)",
        "where the search begins: the root is the same",
    ),
    ("stability/mean_square.py", r"→ log_radius\(lower\) >= 0|→ log_radius\(upper\) <= 0", BOUNDARY),
    ("stability/mean_square.py", r"^if beta == 0\.0: # 0\.0 → 1", ROUTES),
    ("statistics/estimate.py", r"^ENUMERATION_LIMIT = ", "a budget of seconds, not a formula"),
    ("_kernels/gradient_forms.py", r"^(p[0-3]|projection) \+= .* → ", "its sign is lost in the square"),
    ("statistics/perron.py", r"^if n <= p: # ", ROUTES),
    ("statistics/perron.py", r"^enough = max\(.* # (10\.0|2|1) → ", TOLERANCE),
    ("statistics/leading.py", r"^if rows is not None and b \* rows\.shape\[1\] < p: # (1 → 2|.* → .* (<=|/) )", ROUTES),
    ("statistics/critical.py", r"^model = .* # 2 → 3", "where the search begins"),
    (
        "statistics/mean_square.py",
        r"^rounding = float\(8 .* # 8 → 16",
        "a margin for rounding: a larger one is as valid",
    ),
    ("_kernels/gradient_forms.py", r"^while a \+ 4 <= b: # 4 → 8", "the rest is taken one row at a time"),
    (
        "statistics/perron.py",
        r"^for floor in ",
        "a ladder of floors: any positive one gives a valid bound, the best is kept",
    ),
    ("statistics/mean_square.py", r"^SMALL_RANK = |<= SMALL_RANK", ROUTES),
    ("statistics/mean_square.py", r"^RANK_TOLERANCE = |# RANK_TOLERANCE \* top → |→ eigenvalues >= ", TOLERANCE),
    (
        "gap/concentration.py",
        r"^GRID = |# 0\.03 → ",
        "any θ gives a bound: a grid of other ends and steps is as right, and so is another tolerance of the search",
    ),
    (
        "gap/concentration.py",
        r"minimum\(exponents, 1\.0\).* # 1\.0 → |top < 1\.0, .* # (top < 1\.0 → top <= |1\.0 → )",
        "the two forms agree on both sides of where one takes over",
    ),
    ("gap/cluster.py", r"std\(ddof=1\).* # 1 → 2", "n − 2 for n − 1 in the spread of 1024 pairs: 0.05 %"),
    (
        "gap/ritz.py",
        r"^(units|units /|coupling) = .*np\.where\(seen.* # (0\.0|1\.0) → |^units /= .* # 1\.0 → ",
        "overwritten where no second direction is seen",
    ),
    ("gap/exact.py", r"→ s\.n < LARGEST_N_OF_PAIRS", "a budget of numbers, not a formula"),
    (
        "gap/rules.py",
        r"^ENUMERATED_NUMBERS = .* # 2 → |<= ENUMERATED_NUMBERS, # (2 → 3|.* → .*(/ s\.b|s\.p \* 2|< ENUMERATED_NUMBERS)$)",
        "a budget of numbers, not a formula",
    ),
    (
        "gap/random_matrix.py",
        r"→ (a\[0\] - a\[1\]|s\.eigenvalues) >= s\.rounding|→ abs\(_kurtosis_misfit\(s\)\) < ",
        BOUNDARY,
    ),
    (".py", r"→ .* < (sgd\.)?(DIVERGENCE_LIMIT|limit)$", BOUNDARY),
    (
        "simulation/runner.py",
        r"^slope = self\._depth \* .* # 1\.0 → 2",
        "speed only: a larger bound is a bound too, and the gradients are looked at themselves",
    ),
    ("problems/derivatives.py", r"^nearby = point .* # (1\.0 → 2|0\.5 → )", "where it looks: any point nearby will do"),
    ("problems/derivatives.py", r"MOST_NUMBERS // .* # (p \*\* 2 → |2 → 3|MOST)", "a budget of numbers, not a formula"),
    ("problems/diagonal.py", r"\.reshape\(2, -1\) # 1 → 2", "numpy reads any negative length as the unknown one"),
    ("_phases.py", r"→ n_records < 2", BOUNDARY),
    ("statistics/uncertainty.py", r"→ one\.exact and other\.exact", "the product with an error of 0 is 0"),
    ("simulation/dropout.py", r"→ normals\[m\].* <= kept", BOUNDARY),
    ("simulation/descent.py", r"→ taken >= MOST_GRADIENTS", TOLERANCE),
    ("stability/published.py", r"<= 4 \* rounding.* # 4 → 8", TOLERANCE),
    ("problems/boundary.py", r"^single = .* # 1e-12 → ", "between the precisions of float64 and float32"),
    ("data/ensembles.py", r"^sides = .* # np\.arange\(draw\.n_samples\) % 2 == 0 → ", "w and −w have the same law"),
    ("data/tables.py", r"^nearest = .* # 1 → 2", "only the first of the nearest names is used"),
    ("data/text.py", r"^names = .* # 0 → 1", "any row: all have the same length"),
    ("data/text.py", r"→ content\[:200\]\.count\(0\) >= ", BOUNDARY),
    ("moments/modes.py", r"^if not off\.max\(\) <= 1e-8 .* # 1e-08 → 2e-08", TOLERANCE),
    ("moments/stationary.py", r"^stable = .* # noise_radius\(.*\) <… → ", BOUNDARY),
    ("moments/stationary.py", r"→ left >= tolerance|→ sign >= 0|→ error < RESIDUAL", BOUNDARY),
    ("moments/stationary.py", r"^tolerance = 1e-8 .* # 1e-08 → ", TOLERANCE),
    ("moments/stationary.py", r"→ rank < DENSE_RANK", ROUTES),
    ("moments/stationary.py", r"^units\[index, .* # 1\.0 → 2", "any scale of a basis"),
    (
        "moments/stationary.py",
        r"\.reshape\(len\(units\), -1\) # 1 → 2",
        "numpy reads any negative length as the unknown one",
    ),
    ("moments/stationary.py", r"^(DENSE_RANK|SINGULAR|RESIDUAL|REFINEMENTS) = ", TOLERANCE),
    (
        "statistics/mean_square.py",
        r"→ np\.trace\(matrix\) <= 0",
        "a unit positive semidefinite matrix has no trace of 0",
    ),
    (
        "statistics/mean_square.py",
        r"^for floor in ",
        "a ladder of floors: any positive one gives a valid bound, the best is kept",
    ),
    ("flow/fast.py", r"^TOLERANCE = |maxiter=.* # (20 → 40|100 → 200|20 \* len\(right\) → )", TOLERANCE),
    ("flow/fast.py", r"→ self\.inverse_response\[-1, -1\] < 0\.0", BOUNDARY),
    ("flow/fast.py", r"^if beta == 0\.0: # 0\.0 → 1", ROUTES),
    (
        "flow/integrate.py",
        r"^(RELATIVE_TOLERANCE|SHORTEST_STEP) = |^atol=.* # (0\.01 → |1\.0 → |np)",
        TOLERANCE,
    ),
    ("flow/integrate.py", r"→ \(solver\.step_size or 0\.0\) <= ", BOUNDARY),
    ("flow/integrate.py", r"^stuck = .* # 0\.0 → 1", "a solver that has taken a step has a step size"),
    ("flow/law.py", r"^(NEAR|CORRECTIONS) = |# 1e-12 → |→ .* < 1e-12 \* |# 1e-06 → ", TOLERANCE),
    ("flow/law.py", r"PerronMatrix\.of\(.* # 0\.0 → 1", "only the eigenvectors of K are used: any c"),
    ("flow/law.py", r"^probe = .* # 0 → 1|^probe\[:\] = .* # 0 → 1", "any probe"),
    ("flow/rank.py", r"^(LARGEST_DENSE|FEWEST, ENOUGH) = |→ size >= LARGEST_DENSE|<= ENOUGH|→ more <= ", TOLERANCE),
    ("flow/newton.py", r"^TOLERANCE = ", TOLERANCE),
    ("flow/bursts.py", r"^(N_PARTICLES|N_STEPS|BURN_IN|N_NODES|NEGLIGIBLE) = ", TOLERANCE),
    ("flow/observables.py", r"^if momentum == 0\.0: # 0\.0 → 1", ROUTES),
    ("flow/observables.py", r"→ frozen - ", "r and −r have the same law"),
    (
        "flow/rows.py",
        r"(n_params|len\(batches\), -1|reshape\(-1, c)(\)| @ ).* # 1 → 2",
        "numpy reads any negative length as the unknown one",
    ),
    ("flow/settled.py", r"→ .* < (min\(lower|target \+ tol)|→ (upper <|lower >)= target", BOUNDARY),
    ("flow/settled.py", r"^diverged = .* # (0 → 1|.* → .* > 0)", "a flow that is at its wall at the start is refused"),
    ("statistics/mean_square.py", r"^slack = 8 .* # 8 → 16", "a margin for rounding: a larger one is as valid"),
    ("spectra/mean.py", r"^(DENSE_LIMIT|QUICK_SIZE) = ", "speed only: where Lanczos takes over"),
    ("spectra/mean.py", r"and n < p: # n < p → n <= p|^few = .* → .* <= |→ p < DENSE_LIMIT", ROUTES),
    (
        "statistics/pointwise.py",
        r"or 1\.0\) # 1\.0 → 2",
        "reached only where every gradient is zero, whatever it is divided by",
    ),
)


@dataclass(frozen=True)
class Mutant:
    path: str
    line: int
    change: str
    source_line: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}  {self.change}    in: {self.source_line.strip()}"


ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
EXTREMES = {"min": "max", "minimum": "maximum", "argmin": "argmax"}
EXTREMES |= {new: old for old, new in EXTREMES.items()}


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """Every wrong version of one node."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant({0: 1, 1: 2, 2: 3}.get(node.value, 2 * node.value))
    elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        if isinstance(node.op, (ast.Add, ast.Sub)) and isinstance(node.right, ast.Constant) and node.right.value == 1:
            yield node.left
    elif isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
        yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for turned in COMPARISONS[type(node.ops[0])]:
            yield ast.Compare(node.left, [turned()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.Name) and node.id in EXTREMES:
        yield ast.Name(EXTREMES[node.id], node.ctx)
    elif isinstance(node, ast.Attribute) and node.attr in EXTREMES:
        yield ast.Attribute(node.value, EXTREMES[node.attr], node.ctx)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(
        node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)
    ):
        wrong = copy.copy(node)
        wrong.test = ast.UnaryOp(ast.Not(), node.test)
        yield wrong


# Types, decorators and the wording of error messages hold no formula.
IGNORED_FIELDS = {"annotation", "returns", "decorator_list", "type_params"}


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """(parent, field, index) of every node that may be mutated."""
    for field, value in ast.iter_fields(node):
        if field in IGNORED_FIELDS or isinstance(node, (ast.Raise, ast.JoinedStr)):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not is_overload(child):
                yield node, field, index
                yield from places(child)


def is_overload(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(isinstance(decorator, ast.Name) and decorator.id == "overload" for decorator in decorators)


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a source file, in its order."""
    source = path.read_text(encoding="utf-8")
    tree, lines, name = ast.parse(source), source.splitlines(), path.relative_to(ROOT).as_posix()
    found = []
    for parent, field, index in list(places(tree)):
        container = getattr(parent, field)
        original = container if index is None else container[index]
        for wrong in list(replacements(original)):
            _put(parent, field, index, wrong)
            text = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, index, original)
            change = f"{_shown(original)} → {_shown(wrong)}"
            found.append(Mutant(name, original.lineno, change, lines[original.lineno - 1], text))
    found += swapped_methods(tree, name)
    return found


def _put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _shown(node: ast.AST) -> str:
    shown = ast.unparse(node.test if isinstance(node, (ast.If, ast.While)) else node)
    return shown if len(shown) <= 60 else shown[:57] + "…"


def swapped_methods(tree: ast.Module, name: str) -> list[Mutant]:
    """The coefficients of one sampling scheme in the place of another's, and c in the place of c₃."""
    methods = {
        (owner.name, method.name): method
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
        for method in owner.body
        if isinstance(method, ast.FunctionDef) and method.name.endswith("_coefficient")
    }
    found = []
    for (owner, method), node in methods.items():
        for (other_owner, other_method), other in methods.items():
            if node is other or "Sampling" in (owner, other_owner) or (owner != other_owner and method != other_method):
                continue
            original, node.body = node.body, other.body
            change = f"{owner}.{method} → {other_owner}.{other_method}"
            found.append(Mutant(name, node.lineno, change, f"def {method}", ast.unparse(tree)))
            node.body = original
    return found


def reason_to_exclude(mutant: Mutant) -> str | None:
    for path, pattern, reason in EQUIVALENT:
        if mutant.path.endswith(path) and _matches(pattern, mutant):
            return reason
    return None


def _matches(pattern: str, mutant: Mutant) -> bool:
    return re.search(pattern, f"{mutant.source_line.strip()} # {mutant.change}") is not None


class Watch:
    """A pytest plugin: runs the tests named in `first` before the others and remembers, or reports, the first to fail."""

    def __init__(self, first: list[str], connection: Connection | None) -> None:
        self.rank = {name: rank for rank, name in enumerate(first)}
        self.connection = connection
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.rank.get(item.nodeid, len(self.rank)))

    def pytest_runtest_logstart(self) -> None:
        # The signal ends the process, which a compiled loop would not let Python do.
        signal.alarm(LONGEST_TEST)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._see(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._see(report)

    def _see(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid
            if self.connection is not None:
                # Nobody reads the report of a mutant: its process ends here.
                check_imports()
                self.connection.send(self.failed)
                os._exit(0)


def run_tests(tests: tuple[str, ...], first: list[str], folder: Path, connection: Connection, hurry: bool) -> None:
    """In a process of its own, which imports the package and its tests from `folder`: sends the failed test or None."""
    os.setsid()  # with the processes that it starts, it is stopped as a group
    with (folder / "output").open("w") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.chdir(folder)
    sys.path[:] = [str(folder), *(entry for entry in sys.path if Path(entry).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("esssim", "tests")]:
        del sys.modules[name]
    # Bytecode is found by a time of whole seconds: a mutant written within the same second would be overlooked.
    sys.dont_write_bytecode = True
    watch = Watch(first, connection if hurry else None)
    options = ("-x", "-q", "--assert=plain", "--tb=native", "-p", "no:cacheprovider", "-p", "no:randomly")
    code = pytest.main([*options, *tests], plugins=[watch])
    check_imports()
    connection.send(None if code == pytest.ExitCode.OK else watch.failed or f"pytest: {code!r}")


def check_imports() -> None:
    """AssertionError where the package or the tests that ran are not those of the current folder."""
    here = Path.cwd()
    for name, module in sys.modules.items():
        if name.partition(".")[0] in ("esssim", "tests"):
            assert Path(module.__file__ or "").is_relative_to(here), f"tested another copy: {module}"


class Sandbox:
    """A copy of the repository in which one mutant at a time lives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        for name in ("esssim", "tests", "docs", "theory", "examples"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)

    def killer(
        self, tests: tuple[str, ...], first: list[str], timeout: float | None = None, hurry: bool = False
    ) -> str | None:
        """What the package in its present state dies of: a test, a crash or the timeout; None where every test passes."""
        receiver, sender = FORKS.Pipe(duplex=False)
        # No daemon: those may start no workers, and some tests do.
        process = FORKS.Process(target=run_tests, args=(tests, first, self.folder, sender, hurry))
        process.start()
        assert process.pid is not None
        sender.close()
        try:
            return receiver.recv() if receiver.poll(timeout) else TIMED_OUT
        except EOFError:
            process.join()
            return TIMED_OUT if process.exitcode == -signal.SIGALRM else CRASHED
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
            receiver.close()

    def killer_of(self, mutant: Mutant, tests: tuple[str, ...], first: list[str], timeout: float) -> str | None:
        path = self.folder / mutant.path
        original = path.read_bytes()
        try:
            path.write_text(mutant.text, encoding="utf-8")
            return self.killer(tests, first, timeout, hurry=True)
        finally:
            path.write_bytes(original)


# Forks of one process that has imported numpy, numba, scipy and pytest already.
FORKS = multiprocessing.get_context("forkserver")
TIMED_OUT, CRASHED = "timeout", "crash"


@dataclass(frozen=True)
class Score:
    """What became of the mutants of one module."""

    name: str
    n_mutants: int
    survivors: list[Mutant]
    timed_out: int
    crashed: int
    left_out: int
    seconds: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self) | {"survivors": [str(mutant) for mutant in self.survivors]}

    @property
    def killed(self) -> int:
        return self.n_mutants - len(self.survivors)

    @property
    def fraction(self) -> float:
        return self.killed / self.n_mutants if self.n_mutants else 1.0


def sources_of(name: str) -> list[Path]:
    return sorted(path for pattern in MODULES[name].sources for path in (ROOT / "esssim").glob(pattern))


def run(
    name: str, sandboxes: list[Sandbox], options: argparse.Namespace, keep: Callable[[Score], None]
) -> Score | None:
    """The score of a module, None where its tests fail without any mutant; `keep` has the score so far."""
    start, tests = time.monotonic(), MODULES[name].tests
    everything = [mutant for path in sources_of(name) for mutant in mutants_of(path)]
    chosen = [mutant for mutant in everything if (reason_to_exclude(mutant) is not None) == options.equivalent]
    left_out = len(everything) - len(chosen)
    chosen = [mutant for mutant in chosen if re.search(options.only, str(mutant))]
    if options.sample is not None and options.sample < len(chosen):
        # In the order of the files: a compiled loop is compiled again whenever its file changes.
        chosen = [chosen[i] for i in sorted(random.Random(options.seed).sample(range(len(chosen)), options.sample))]
    first, step = options.part
    chosen = chosen[first - 1 :: step]
    with ThreadPoolExecutor(len(sandboxes)) as pool:
        for sandbox, killer in zip(sandboxes, pool.map(lambda box: box.killer(tests, []), sandboxes), strict=True):
            if killer is not None:
                print((sandbox.folder / "output").read_text(), file=sys.stderr)
                print(f"{name}: the tests fail without any mutant, at {killer}", file=sys.stderr)
                return None
    timeout = max(PATIENCE * (time.monotonic() - start), SHORTEST_TIMEOUT)
    idle: SimpleQueue[Sandbox] = SimpleQueue()
    for sandbox in sandboxes:
        idle.put(sandbox)
    recent: list[str] = []
    killers: dict[int, str | None] = {}

    def kill(index: int) -> int:
        sandbox = idle.get()
        try:
            killers[index] = sandbox.killer_of(chosen[index], tests, recent.copy(), timeout)
        finally:
            idle.put(sandbox)
        return index

    with ThreadPoolExecutor(len(sandboxes)) as pool:
        for done in as_completed([pool.submit(kill, index) for index in range(len(chosen))]):
            killer, mutant = killers[done.result()], chosen[done.result()]
            if options.equivalent and killer is not None:
                _say(f"killed by {killer}: {mutant}")
            elif (killer is None and not options.equivalent) or killer == TIMED_OUT:
                _say(f"{'survived ' if killer is None else 'timed out'} {mutant}")
            if killer not in (None, TIMED_OUT):
                recent[:] = [killer, *(test for test in recent if test != killer)]
            alive = sum(killer is None for killer in killers.values())
            _progress(name, len(killers), len(chosen), alive, time.monotonic() - start)
            keep(score(name, chosen, killers, left_out, time.monotonic() - start))
    _say("")
    return score(name, chosen, killers, left_out, time.monotonic() - start)


def score(name: str, chosen: list[Mutant], killers: dict[int, str | None], left_out: int, seconds: float) -> Score:
    """Of the mutants that were run so far."""
    survivors = [chosen[index] for index in sorted(killers) if killers[index] is None]
    kinds = (sum(killer == kind for killer in killers.values()) for kind in (TIMED_OUT, CRASHED))
    return Score(name, len(killers), survivors, *kinds, left_out, seconds)


def _progress(name: str, done: int, total: int, alive: int, seconds: float) -> None:
    """One line that is overwritten on a terminal, a line at every tenth elsewhere."""
    line = f"{name}: {done} of {total} mutants, {done - alive} killed, {alive} survived, {seconds:.0f} s"
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="", flush=True)
    elif done * 10 // total > (done - 1) * 10 // total:
        print(line, flush=True)


def _say(line: str) -> None:
    print(f"\r\033[K{line}" if sys.stdout.isatty() else line, flush=True)


def table(scores: list[Score]) -> str:
    """A row per module, and below it the survivors of each."""
    columns = ("module", "mutants", "killed", "survived", "score", "timed out", "crashed", "equivalent", "seconds")
    rows = [
        (s.name, s.n_mutants, s.killed, len(s.survivors), f"{s.fraction:.1%}", s.timed_out, s.crashed, s.left_out, f"{s.seconds:.0f}")
        for s in scores
    ]  # fmt: skip
    lines = [
        f"{name:<12}" + "".join(f"{cell:>{len(column) + 2}}" for cell, column in zip(cells, columns[1:], strict=True))
        for name, *cells in [columns, *rows]
    ]
    for score in scores:
        if score.survivors:
            lines += ["", f"survivors in {score.name}:", *(f"  {mutant}" for mutant in score.survivors)]
    return "\n".join(lines)


def listing(names: list[str]) -> str:
    """The mutants left out as equivalent, under the reason of each, and entries that match none."""
    mutants = [mutant for name in names for path in sources_of(name) for mutant in mutants_of(path)]
    paths = {path.relative_to(ROOT).as_posix() for name in names for path in sources_of(name)}
    lines = []
    for path, pattern, reason in EQUIVALENT:
        if any(known.endswith(path) for known in paths):
            matching = [mutant for mutant in mutants if mutant.path.endswith(path) and _matches(pattern, mutant)]
            lines += [f"{reason}:", *(f"  {mutant}" for mutant in matching or ["no such mutant: remove the entry"])]
    return "\n".join(lines)


def write_json(path: Path | None, scores: list[Score]) -> None:
    if path is not None:
        path.write_text(json.dumps([each.as_dict() for each in scores], indent=1), encoding="utf-8")


def part(words: str) -> tuple[int, int]:
    """(K, N) of K/N."""
    first, step = (int(number) for number in words.split("/"))
    if not 1 <= first <= step:
        raise ValueError(words)
    return first, step


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.split("\n")[0])
    parser.add_argument(
        "modules", nargs="*", choices=[*MODULES, []], metavar="module", help=f"all: {', '.join(MODULES)}"
    )
    parser.add_argument("--sample", type=int, help="so many mutants per module, drawn at random; all when left out")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--part",
        type=part,
        default=(1, 1),
        metavar="K/N",
        help="every N-th of them from the K-th on: a sample in parts",
    )
    parser.add_argument("--only", default="", help="a regular expression to find in 'file:line  change    in: source'")
    parser.add_argument("--workers", type=int, default=2, help="mutants tested at a time (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores, after each mutant")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the mutants left out as equivalent, with the reasons")
    what.add_argument(
        "--equivalent", action="store_true", help="run the mutants left out instead: none of them may die"
    )
    options = parser.parse_args()
    names = options.modules or list(MODULES)
    if options.list:
        print(listing(names))
        return 0
    missing = [(name, test) for name in names for test in MODULES[name].tests if not (ROOT / test).exists()]
    for name, test in missing:
        print(f"{name}: nothing can kill its mutants, {test} does not exist", file=sys.stderr)
    if missing:
        return 2
    os.environ |= {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    FORKS.set_forkserver_preload(["tests.preload"])
    scores = []
    with tempfile.TemporaryDirectory() as folder:
        sandboxes = [Sandbox(Path(folder) / str(worker)) for worker in range(options.workers)]
        for name in names:
            found = run(name, sandboxes, options, lambda so_far: write_json(options.json, [*scores, so_far]))
            if found is None:
                return 2
            scores.append(found)
    if options.equivalent:
        return 1 if any(score.killed for score in scores) else 0
    print(table(scores))
    return 0 if min(score.fraction for score in scores) >= REQUIRED else 1


if __name__ == "__main__":
    sys.exit(main())
