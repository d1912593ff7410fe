"""Claims on moments and published edges: quick runs come out as predicted, and a wrong number refutes them."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim import claims
from esssim.claims import edge_tables, moments, published, self_stabilisation
from esssim.claims.claim import Measurement
from esssim.experiments import SelfStabilisingDynamics, published_edges
from esssim.stability import dropout_step_size
from tests.pages import DOCS, check_is_kept, copied

FAMILIES = (
    "moments",
    "who-is-closest",
    "minibs-edge",
    "batch-sharpness-edge",
    "interaction-aware-edge",
    "noise-kernel",
    "heavy-ball-ends",
    "self-stabilisation",
)
CHOSEN = [claim.id for claim in claims.registry.values() if claim.family in FAMILIES] + [
    "momentum-edge/many-dimensions"
]


@pytest.fixture(autouse=True)
def fresh_tables() -> Iterator[None]:
    """No table computed by one test, perhaps with a wrong number, is seen by another."""
    yield
    published_edges.closest_table.cache_clear()
    published.heavy_ball_table.cache_clear()


def quick(name: str) -> Measurement:
    return claims.registry[name].measure(True)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_quick_run_decides_as_predicted(name: str) -> None:
    claim, measured = claims.registry[name], quick(name)
    assert measured.verdict in ("holds", "refuted")
    assert claim.expected in ("open", measured.verdict)
    assert measured.rows
    assert len({frozenset(row) for row in measured.rows}) == 1, "every row of a table has the same columns"


def scaled(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    return lambda *arguments, **options: factor * function(*arguments, **options)


def with_longer_steps(function: Callable[..., Any], factor: float) -> Callable[..., Any]:
    return lambda *arguments, **options: function(*arguments, **options | {"step_size": factor * options["step_size"]})


def off_by(function: Callable[..., Any], *errors: float) -> Callable[..., Any]:
    return lambda *arguments, **options: tuple(np.add(function(*arguments, **options), errors))


WRONG: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "moments/enumeration": (moments, "evolve", lambda f: with_longer_steps(f, 1 + 1e-9)),
    "moments/ensemble": (moments, "evolve", lambda f: with_longer_steps(f, 1.05)),
    "moments/stationary": (moments, "stationary_covariance", lambda f: scaled(f, 1 + 1e-9)),
    "momentum-edge/many-dimensions": (moments, "critical_step_size", lambda f: scaled(f, 1 + 1e-6)),
    "interaction-aware-edge/descent": (published, "interaction_aware_step_size", lambda f: scaled(f, 1 + 1e-9)),
    "interaction-aware-edge/at-the-mean-square-edge": (published, "interaction_aware_step_size", lambda f: scaled(f, 1 + 1e-6)),
    "interaction-aware-edge/stationary": (published, "stationary_covariance", lambda f: with_longer_steps(f, 1 + 1e-7)),
    "noise-kernel/never-below": (published_edges, "noise_kernel_step_size", lambda f: scaled(f, 0.98)),
    "heavy-ball-ends/between": (published, "mean_square_sharpness", lambda f: scaled(f, 1.01)),
    "self-stabilisation/large-gap": (SelfStabilisingDynamics, "over_the_formula", lambda f: off_by(f, 0.1, 0, 0)),
    "self-stabilisation/lower-bound": (SelfStabilisingDynamics, "over_the_formula", lambda f: off_by(f, 0, 0, 0.05)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_number_refutes_the_claim(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home, attribute, spoil = WRONG[name]
    monkeypatch.setattr(home, attribute, spoil(getattr(home, attribute)))
    assert quick(name).verdict == "refuted"


def test_the_table_of_published_edges_names_the_closest() -> None:
    rows = published_edges.closest_table(True)
    assert {row["b"] for row in rows} == {1, 8, 20, 40}
    for row in rows:
        ratios = {edge: float(row[edge]) for edge in published_edges.EDGES}
        if row["closest"] == "several (b = n)":
            # With one batch for all, four of the edges are the full-batch edge.
            exact = ("gradient descent", "MiniBS", "noise kernel, diagonal", "noise kernel, high-dimensional")
            np.testing.assert_allclose([ratios[edge] for edge in exact], 1, rtol=1e-9)
        else:
            nearest = min(ratios, key=lambda edge: abs(np.log(ratios[edge])))
            assert row["closest"] == nearest
            assert row["b"] < (40 if "40x20" in str(row["ensemble"]) else 20)


def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "published_edges.py"))


def stored() -> dict[str, list[dict[str, Any]]]:
    return json.loads((DOCS / "published_edges.json").read_text(encoding="utf-8"))


def test_the_page_of_published_edges_holds_the_tables() -> None:
    content = stored()
    page = script()["markdown"](content)
    assert page == (DOCS / "published_edges.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    rows = [row for table in content.values() for row in table]
    assert len(lines) == len(rows) + len(content)
    assert len({line.count("|") for line in lines[: 1 + len(content["regression"])]}) == 1
    first, exact = rows[0], published_edges.EDGES
    shown = [f"**{first[e]:.2f}**" if first["closest"] == e else f"{first[e]:.2f}" for e in exact]
    assert lines[1] == "| " + " | ".join([str(first["ensemble"]), str(first["b"]), *shown]) + " |"
    assert sum("**" in line for line in lines) == sum(row.get("closest", "") in row for row in rows)


def test_the_stored_edges_are_those_of_the_package() -> None:
    content = stored()
    near = {
        key: pytest.approx(value, rel=1e-6)
        for key, value in content["regression"][5].items()
        if key in published_edges.EDGES
    }
    row = content["regression"][5]
    problem = published_edges.interpolating(published_edges.ensembles(False)[row["ensemble"]])
    sampling = es.WithoutReplacement(row["b"])
    steps = published_edges.published_step_sizes(problem, sampling, seed=row["b"])
    exact = 2 / es.mean_square_sharpness(problem, np.zeros(problem.n_params), sampling)
    assert {edge: step / exact for edge, step in steps.items()} == near
    for found, kept in zip(self_stabilisation.closest_rows(True), content["network"], strict=False):
        assert found == {key: pytest.approx(value, rel=1e-5) for key, value in kept.items()}


def test_tables_of_bounds_and_of_other_optimisers() -> None:
    content = stored()
    for row in content["bounds"]:
        assert row["contraction"] <= 1 + 1e-9
        assert row["size-free"] == "∞" or row["size-free"] >= 1 - 1e-9
    for row in content["zeroth order"]:
        assert row["2/(tr H + 2λ_max)"] <= 1 <= row["2/tr H"]
    quick_rows = (
        edge_tables.bounds_rows(True) + edge_tables.preconditioned_rows(True) + edge_tables.weight_decay_rows(True)
    )
    assert len(quick_rows) == 3 * 6
    # Along the full gradient critical sharpness is gᵀHg/‖g‖², here at the same points.
    row = quick_rows[0]
    problem = published_edges.interpolating(published_edges.ensembles(True)[row["ensemble"]])
    points = np.random.default_rng(row["b"]).normal(size=(8, problem.n_params))
    hessian = problem.hessian(np.zeros(problem.n_params))
    curvatures = [g @ hessian @ g / (g @ g) for g in points @ hessian]
    exact = 2 / es.mean_square_sharpness(problem, np.zeros(problem.n_params), es.WithoutReplacement(row["b"]))
    assert row["critical sharpness"] == pytest.approx(2 / np.mean(curvatures) / exact, rel=1e-6)
    decays = edge_tables.weight_decay_rows(True)[0]
    penalised = es.Quadratic(
        problem.sample_hessians(np.zeros(20), np.arange(40)) + 0.1 * es.sharpness(problem, np.zeros(20)) * np.eye(20),
        np.zeros((40, 20)),
    )
    ratio = es.mean_square_sharpness(penalised, np.zeros(20), es.WithoutReplacement(1)) * exact / 2
    assert decays["μ = 0.1λ_max"] == pytest.approx(ratio, rel=1e-9)


def test_the_table_of_dropout_is_that_of_moments_of_samples_with_the_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, diabetes = stored()["dropout"], published.ensembles(False)["diabetes"]
    edges = ("full batch", "SGD", "full batch, penalised", "SGD, penalised")
    assert all(row[edge] > 1 - 1e-9 for row in kept for edge in edges)
    monkeypatch.setattr(edge_tables, "ensembles", lambda quick: {"diabetes": diabetes})
    rows = edge_tables.dropout_rows(True)
    assert [row["b"] for row in rows] == [1, 1, 8, 8, 442, 442]
    for row, before in zip([*rows[:2], *rows[-2:]], [*kept[-10:-8], *kept[-2:]], strict=True):
        assert row == {key: pytest.approx(value, rel=1e-6) if key in edges else value for key, value in before.items()}
    row, inputs = rows[3], diabetes.inputs
    (n, d), b = inputs.shape, row["b"]
    each = np.einsum("ni,nj->nij", inputs, inputs) + inputs[:, :, None] ** 2 * np.eye(d)
    mean, c = each.mean(axis=0), (n - b) / (b * (n - 1))
    second = (1 - c) * np.kron(mean, mean) + c * np.einsum("nij,nkl->ikjl", each, each).reshape(d * d, d * d) / n
    first = (np.kron(mean, np.eye(d)) + np.kron(np.eye(d), mean)) / 2
    exact = dropout_step_size(es.LinearRegression(inputs, np.zeros(n)), np.zeros(d), es.WithoutReplacement(b), 0.5)
    top = float(np.linalg.eigvals(np.linalg.solve(first, second)).real.max())
    assert row["SGD, penalised"] == pytest.approx(2 / top / exact, rel=1e-9)
    assert row["full batch, penalised"] == pytest.approx(2 / np.linalg.eigvalsh(mean)[-1] / exact, rel=1e-9)
    assert row["closest"] == min(edges, key=lambda edge: abs(np.log(row[edge])))


def test_the_page_of_published_edges_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("published_edges.py", "published_edges.md", "published_edges.json")
    run = copied("published_edges", files, tmp_path, monkeypatch)
    check_is_kept("published_edges", run, tmp_path, ("1.11", "1.12"), capsys)


def test_the_dynamics_of_self_stabilisation_against_a_loop_in_their_own_variables() -> None:
    """One replica in (x, y) with η, α, β, σ, against the dimensionless one for the same normals."""
    eta, alpha, beta, sigma = 0.1, 0.02, 3.0, 0.4
    noise, sharpening = eta**2 * beta * sigma**2 / (2 * alpha), eta**2 * alpha
    run = SelfStabilisingDynamics(noise, sharpening, 40, 9)
    trace = run.run()
    value, error, identity = run.over_the_formula(trace)
    rng, n = np.random.default_rng(9), 400
    y, x = np.full(n, -noise / 2 / eta), rng.normal(size=n) * np.sqrt(2 * alpha / beta)
    gaps, corrections, sharpnesses = [], [], []
    for step in range(40):
        sharpnesses.append(2 / eta + y)
        if step >= 10:
            gaps.append(-y)
            corrections.append(
                (eta * y**2 * beta * x**2 / alpha + eta * alpha * (beta * x**2 / alpha - 2) ** 2 / 2) / 4
            )
        x, y = -(1 + eta * y) * x + eta * sigma * rng.normal(size=n), y + eta * (alpha - beta * x**2 / 2)
    closed_form = eta * beta * sigma**2 / (4 * alpha)
    means = np.mean(gaps, axis=0) / closed_form
    np.testing.assert_allclose(trace["sharpness"].values.T[:-1], eta * np.array(sharpnesses), rtol=1e-12)
    assert identity == pytest.approx(1 + np.mean(corrections) / closed_form, rel=1e-10)
    assert value == pytest.approx(means.mean(), rel=1e-10)
    assert error == pytest.approx(means.std(ddof=1) / np.sqrt(n), rel=1e-10)
    assert run.levels(trace)["sharpness"].value == pytest.approx(eta / 2 * np.mean([*sharpnesses[10:], 2 / eta + y]))


@pytest.mark.parametrize(("noise", "sharpening", "some_are_left"), [(0.3, 0.03, True), (1.9, 5.0, False)])
def test_dynamics_that_diverge_are_marked_and_left_out(noise: float, sharpening: float, some_are_left: bool) -> None:
    run = SelfStabilisingDynamics(noise, sharpening, 400)
    trace = run.run()
    lost = trace["diverged_at"].values >= 0
    assert lost.any()
    assert (~lost).any() == some_are_left
    np.testing.assert_array_equal(np.isnan(trace["mean_gap"].values), lost)
    found = run.over_the_formula(trace)
    if some_are_left:
        assert found[0] == pytest.approx(trace["mean_gap"].values[~lost].mean() / (noise / 2))
    else:
        assert np.isnan(found).all()
    first = np.flatnonzero(lost)[0]
    finite = np.isfinite(trace["sharpness"].values[first])
    np.testing.assert_array_equal(finite, trace["step"].values < trace["diverged_at"].values[first])
