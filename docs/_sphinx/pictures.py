"""The pictures of the texts: computed by esssim when the site is built, once for light pages and once for dark ones.

A page asks for one by its name:

    ```{picture} one_dimension
    The caption, in Markdown.
    ```

The first line of a function's docstring is the text for those who do not see it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from docutils import nodes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import esssim as es
from _sphinx.files import DOCS, ROOT
from esssim.plots import BLUE, GREEN, LOOKS, MEAN_SQUARE, ORANGE, PURPLE, RED

FOLDER = DOCS / "pictures"
GREY = "#888888"
TOP = r"$\lambda_{\max}(H_B)$"


@dataclass(frozen=True)
class Ink:
    """The colour of text and axes, and of what stays behind."""

    text: str
    faint: str


LIGHT = Ink("#1f2328", "#d0d4d8")
INKS = {"light": LIGHT, "dark": Ink("#ced6dd", "#48525c")}
Draw = Callable[[Figure, Ink], None]
PICTURES: dict[str, tuple[Draw, tuple[float, float]]] = {}


def picture(width: float = 7.0, height: float = 2.6) -> Callable[[Draw], Draw]:
    """Register a drawing of this size in inches under the name of its function."""

    def register(draw: Draw) -> Draw:
        PICTURES[draw.__name__] = draw, (width, height)
        return draw

    return register


# What several pictures look at: one regression of two parameters, and one of thirty.


@cache
def pair() -> es.LinearRegression:
    """Two parameters, sixteen samples, all fitted by θ = 0: anisotropic, so that directions differ."""
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((16, 2)) @ np.array([[1.0, 0.6], [0.0, 0.5]])
    return es.LinearRegression(inputs, np.zeros(16))


@cache
def regression() -> es.LinearRegression:
    table = es.data.gaussian(120, 30, seed=2, noise=0.5)
    return es.LinearRegression(table.inputs, table.targets)


@cache
def minimum() -> np.ndarray:
    problem = regression()
    return np.linalg.lstsq(problem.inputs, problem.targets, rcond=None)[0]


def batches_of(problem: es.Problem, count: int, size: int, seed: int = 0) -> np.ndarray:
    return es.WithoutReplacement(size).draw(problem.n_samples, count, np.random.default_rng(seed))


def edge(axes: Axes, ink: Ink, words: str = "edge") -> None:
    axes.axhline(1, color=ink.text, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        words, (1, 1), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points", va="center"
    )


def plain_log(axes: Axes, *, x: Sequence[float] = (), y: Sequence[float] = ()) -> None:
    """Logarithmic axes with these numbers on them, written in full."""
    for axis, values, set_scale in ((axes.xaxis, x, axes.set_xscale), (axes.yaxis, y, axes.set_yscale)):
        if values:
            set_scale("log")
            axis.set_ticks(values, [f"{value:g}" for value in values])
            axis.set_ticks([], minor=True)


def figure_rows(name: str) -> list[dict[str, str]]:
    """The numbers behind a figure of the gallery."""
    with (ROOT / "figures" / "output" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# The question.


@picture(7.0, 2.5)
def bowl(figure: Figure, ink: Ink) -> None:
    """Three runs of gradient descent on a parabola: below 2/λ they shrink, at 2/λ they swap sides, above they grow."""
    for axes, level in zip(figure.subplots(1, 3, sharey=True), (0.8, 1.0, 1.03), strict=True):
        theta = (1 - 2 * level) ** np.arange(13)
        line = np.linspace(-1.6, 1.6, 200)
        axes.plot(line, line**2 / 2, color=ink.faint, linewidth=1.5)
        axes.plot(theta, theta**2 / 2, color=BLUE if level <= 1 else RED, marker="o", markersize=3.5, linewidth=0.8)
        axes.set(title=f"(η/2)·λ = {level:g}", xlabel="θ", xlim=(-1.6, 1.6), ylim=(-0.05, 1.3), yticks=[])
    figure.axes[0].set_ylabel("loss")


@picture(7.0, 2.7)
def full_batch_training(figure: Figure, ink: Ink) -> None:
    """Sharpness of a tanh network against training steps, full batch and b = 8, in units of the edge."""
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, size, title in ((left, "128", "full batch, b = n = 128"), (right, "8", "mini-batches, b = 8")):
        rows = [row for row in figure_rows("networks") if row["kind"] == "training" and row["batch_size"] == size]
        steps = np.array([float(row["step"]) for row in rows])
        for name in ("sharpness", "minibatch_sharpness", MEAN_SQUARE):
            look = LOOKS[name]
            if size == "128" and name != "sharpness":
                continue
            color = ink.text if name == "sharpness" else look.color
            axes.plot(steps, [float(row[name]) for row in rows], color=color, linestyle=look.line, label=look.label)
        edge(axes, ink, "2/η")
        axes.set(title=title, xlabel="step", ylim=(0, 1.5))
        axes.legend(loc="lower right", frameon=False)
    left.set_ylabel("(η/2)·statistic")


@picture(7.0, 2.5)
def batch_eigenvalues(figure: Figure, ink: Ink) -> None:
    """Histograms of the largest eigenvalue of mini-batch Hessians for b = 4, 16, 64: their mean is above the sharpness."""
    problem = regression()
    sharpness = es.sharpness(problem, minimum())
    for axes, size in zip(figure.subplots(1, 3), (4, 16, 64), strict=True):
        values = [np.linalg.eigvalsh(problem.hessian(minimum(), batch))[-1] for batch in batches_of(problem, 800, size)]
        axes.hist(values, bins=40, color=RED, alpha=0.35, linewidth=0)
        axes.axvline(float(np.mean(values)), color=RED, linewidth=1.6, label="its mean, MiniBS")
        axes.axvline(
            sharpness, color=ink.text, linestyle=(0, (1.2, 1.2)), linewidth=1.6, label=r"sharpness $\lambda_{\max}(H)$"
        )
        axes.set(title=f"b = {size}", xlabel=TOP, yticks=[], xlim=(0, None))
    named = figure.axes[0].get_legend_handles_labels()
    figure.legend(*named, frameon=False, loc="outside upper center", ncols=2)


@picture(7.0, 2.6)
def one_dimension(figure: Figure, ink: Ink) -> None:
    """Left, runs of a random multiplier at three step sizes; right, the factor of the mean square against the step size."""
    left, right = figure.subplots(1, 2)
    h, rng = np.array([0.2, 1.0, 1.0, 4.0]), np.random.default_rng(1)
    mean_square = float(np.mean(h**2) / np.mean(h))
    for level, color in ((0.8, BLUE), (1.0, GREY), (1.25, RED)):
        eta = 2 * level / mean_square
        squares = np.cumprod((1 - eta * rng.choice(h, (50_000, 8))) ** 2, axis=1)
        steps, factor = np.arange(9), 1 - 2 * eta * h.mean() + eta**2 * np.mean(h**2)
        left.plot(steps, factor**steps, color=color, linewidth=1.8, label=f"(η/2)·Q = {level:g}")
        left.plot(steps[1:], squares.mean(axis=0), color=color, linestyle="", marker="o", markersize=3.5)
        left.plot(steps, np.insert(squares[:4], 0, 1, axis=1).T, color=color, linewidth=0.5, alpha=0.7)
    left.set(yscale="log", ylim=(1e-5, 1e3), xlabel="step", ylabel="$e^2$", title="mean square (thick) and runs (thin)")
    left.legend(frameon=False, loc="lower left")
    eta = np.linspace(0, 1.5, 200)
    right.plot(
        eta, 1 - 2 * eta * h.mean() + eta**2 * np.mean(h**2), color=BLUE, linewidth=1.8, label="mean square: E(1 − ηh)²"
    )
    right.plot(eta, (1 - eta * h.mean()) ** 2, color=ink.text, linestyle=(0, (1.2, 1.2)), label="mean: (1 − ηa)²")
    edge(right, ink, "1")
    for value, words, color in ((2 / mean_square, "2/Q", BLUE), (2 / h.mean(), "2/a", ink.text)):
        right.plot([value], [1], marker="o", color=color, markersize=5)
        right.annotate(words, (value, 1), xytext=(-4, 6), textcoords="offset points", ha="right", color=color)
    right.set(xlabel="step size η", ylim=(0, 2.6), title="factor of one step")
    right.legend(frameon=False, loc="upper left")


@picture(7.0, 2.9)
def two_dimensions(figure: Figure, ink: Ink) -> None:
    """Clouds of runs with two parameters after some steps, below and above the mean-square edge, with the exact ellipse."""
    problem = pair()
    q = es.mean_square_sharpness(problem, np.zeros(2), es.WithoutReplacement(1))
    start = np.array([1.0, -1.0])
    for axes, level in zip(figure.subplots(1, 2), (0.7, 1.1), strict=True):
        runs = es.simulate(
            problem, start, step_size=2 * level / q, sampling=es.WithoutReplacement(1), n_steps=8, n_replicas=600,
            record=("theta",), record_steps=[0, 2, 8], seed=1,
        )  # fmt: skip
        exact = es.moments.evolve(problem, start, step_size=2 * level / q, sampling=es.WithoutReplacement(1), n_steps=8)
        for place, step, color in ((1, 2, ORANGE), (2, 8, BLUE if level < 1 else RED)):
            cloud = runs["theta"].values[:, place]
            axes.plot(*cloud.T, linestyle="", marker=".", markersize=2.5, color=color, alpha=0.5)
            axes.plot(*_ellipse(exact, step), color=color, linewidth=1.4, label=f"step {step}")
        axes.plot(*start, marker="*", color=ink.text, markersize=9, linestyle="")
        axes.set(
            xlim=(-3, 3),
            ylim=(-3, 3),
            aspect="equal",
            title=rf"$(\eta/2)\cdot Q_b$ = {level:g}",
            xlabel="θ₁",
            ylabel="θ₂",
        )
        axes.legend(frameon=False, loc="upper left")


def _ellipse(exact: object, step: int) -> np.ndarray:
    """Two standard deviations around the exact mean."""
    at = exact.sel(record=int(np.argmin(np.abs(exact["step"].values - step))))  # type: ignore[attr-defined]
    values, vectors = np.linalg.eigh(at["covariance"].values)
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = 2 * np.stack([np.cos(angle), np.sin(angle)])
    return at["mean"].values[:, None] + vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * circle)


@picture(7.0, 2.7)
def the_operator(figure: Figure, ink: Ink) -> None:
    """The matrices C and D of two parameters, and the largest factor of a step against the step size: it is 1 at 2/Q_b."""
    problem = pair()
    hessians = problem.sample_hessians(np.zeros(2), np.arange(16))
    mean = hessians.mean(axis=0)
    c_matrix = (np.kron(mean, np.eye(2)) + np.kron(np.eye(2), mean)) / 2
    d_matrix = np.mean([np.kron(each, each) for each in hessians], axis=0)
    q = es.mean_square_sharpness(problem, np.zeros(2), es.WithoutReplacement(1))
    first, second, last = figure.subplots(1, 3, width_ratios=(1, 1, 1.7))
    names = ["m₁₁", "m₁₂", "m₂₁", "m₂₂"]
    for axes, matrix, name in ((first, c_matrix, "C"), (second, d_matrix, "D, b = 1")):
        axes.imshow(matrix, cmap="Blues", vmin=0, vmax=d_matrix.max())
        for (row, column), value in np.ndenumerate(matrix):
            axes.text(
                column,
                row,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="#111" if value < d_matrix.max() / 2 else "#fff",
            )
        axes.set(title=name, xticks=range(4), yticks=range(4))
        axes.set_xticklabels(names), axes.set_yticklabels(names)
        axes.tick_params(length=0)
    eta = np.linspace(0, 2.6 / q, 120)
    factors = [np.sort(np.abs(np.linalg.eigvals(np.eye(4) - 2 * step * c_matrix + step**2 * d_matrix))) for step in eta]
    last.plot(eta * q / 2, factors, color=ink.faint, linewidth=0.9)
    last.plot(eta * q / 2, [each.max() for each in factors], color=BLUE, linewidth=1.8, label="largest factor")
    edge(last, ink, "1")
    last.plot([1], [1], marker="o", color=BLUE)
    last.set(xlabel=r"$(\eta/2)\cdot Q_b$", title="factors of I − 2ηC + η²D", ylim=(0, 1.6))
    last.legend(frameon=False, loc="lower right")


# One for each concept.


@picture(6.0, 2.4)
def batch_sharpness_is_below(figure: Figure, ink: Ink) -> None:
    """For each of many batches, the curvature along its own gradient against its largest eigenvalue: never above it."""
    problem = regression()
    theta = minimum() + 0.3 * np.random.default_rng(0).standard_normal(30)
    for axes, size in zip(figure.subplots(1, 2, sharey=True), (4, 32), strict=True):
        tops, ratios = [], []
        for batch in batches_of(problem, 300, size):
            hessian, gradient = problem.hessian(theta, batch), problem.gradient(theta, batch)
            tops.append(np.linalg.eigvalsh(hessian)[-1])
            ratios.append(gradient @ hessian @ gradient / (gradient @ gradient))
        axes.plot(tops, ratios, linestyle="", marker=".", markersize=3, color=GREEN, alpha=0.6)
        axes.plot([0, 24], [0, 24], color=ink.text, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.plot(
            [np.mean(tops)],
            [np.mean(ratios)],
            marker="D",
            color=ink.text,
            linestyle="",
            label="means: MiniBS, batch sharpness",
        )
        axes.set(title=f"b = {size}", xlabel=TOP, xlim=(0, 24), ylim=(0, 24))
    figure.axes[0].set_ylabel(r"$g_B^{\top}H_Bg_B/\Vert g_B\Vert^2$")
    figure.axes[0].legend(frameon=False, loc="upper left")


@picture(6.0, 2.4)
def gni_near_a_minimum(figure: Figure, ink: Ink) -> None:
    """Gradient–noise interaction against the distance to the minimum: it grows without bound, interaction-aware does not."""
    problem, sampling = regression(), es.WithoutReplacement(8)
    direction = np.random.default_rng(0).standard_normal(30)
    distance = np.geomspace(0.02, 3, 40)
    points = [minimum() + t * direction / np.linalg.norm(direction) for t in distance]
    axes = figure.subplots()
    axes.plot(
        distance,
        [es.gradient_noise_interaction(problem, point, sampling) for point in points],
        color=PURPLE,
        label="GNI",
    )
    axes.plot(
        distance,
        [es.interaction_aware_sharpness(problem, point, sampling) for point in points],
        color=ORANGE,
        label="IAS",
    )
    axes.axhline(es.sharpness(problem, minimum()), color=ink.text, linestyle=(0, (1.2, 1.2)), label="sharpness")
    axes.set(xscale="log", yscale="log", xlabel="distance to the minimum ‖θ − θ*‖", ylabel="statistic")
    axes.legend(frameon=False)


@picture(6.0, 2.4)
def one_step_of_the_loss(figure: Figure, ink: Ink) -> None:
    """Expected change of the loss in one step against the step size: it crosses zero at the interaction-aware edge."""
    problem, sampling = regression(), es.WithoutReplacement(8)
    theta = minimum() + 0.3 * np.random.default_rng(0).standard_normal(30)
    limit = es.stability.interaction_aware_step_size(problem, theta, sampling)
    eta = np.linspace(0, 1.3 * limit, 30)
    gradients = np.array([problem.gradient(theta, batch) for batch in batches_of(problem, 2000, 8)])
    changes = [np.mean(problem.loss(theta - step * gradients)) - problem.loss(theta) for step in eta]
    exact = _expected_change(problem, theta, eta)
    axes = figure.subplots()
    axes.plot(eta, exact, color=ORANGE, linewidth=1.8, label="expected change")
    axes.plot(eta, changes, linestyle="", marker="o", markersize=3, color=ink.text, label="mean over 2000 batches")
    axes.axhline(0, color=ink.text, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot([limit], [0], marker="o", color=ORANGE, markersize=6)
    axes.annotate(
        r"$2\Vert g\Vert^2/\mathrm{tr}(HG_b)$", (limit, 0), xytext=(-8, 8), textcoords="offset points", ha="right"
    )
    axes.set(xlabel="step size η", ylabel=r"$E\,L(\theta-\eta g_B)-L(\theta)$")
    axes.legend(frameon=False)


def _expected_change(problem: es.Problem, theta: np.ndarray, eta: np.ndarray) -> np.ndarray:
    hessian, gradient = problem.hessian(theta), problem.gradient(theta)
    single = problem.sample_gradients(theta, np.arange(problem.n_samples))
    c = es.WithoutReplacement(8).variance_coefficient(problem.n_samples)
    second = (1 - c) * np.outer(gradient, gradient) + c * single.T @ single / problem.n_samples
    return -eta * (gradient @ gradient) + eta**2 / 2 * np.trace(hessian @ second)


@picture(6.0, 2.4)
def statistics_by_batch_size(figure: Figure, ink: Ink) -> None:
    """Sharpness, mini-batch sharpness and mean-square sharpness at one point against the batch size: all meet at b = n."""
    problem, axes = regression(), figure.subplots()
    sizes = [1, 2, 4, 8, 16, 32, 64, 120]
    q = [es.mean_square_sharpness(problem, minimum(), es.WithoutReplacement(b)) for b in sizes]
    m = [
        es.minibatch_sharpness(problem, minimum(), es.WithoutReplacement(b), n_batches=150, seed=0).value for b in sizes
    ]
    axes.plot(sizes, q, color=BLUE, marker="o", label="mean-square sharpness $Q_b$")
    axes.plot(sizes, m, color=RED, marker="s", linestyle=(0, (5, 1.5)), label="mini-batch sharpness")
    axes.axhline(es.sharpness(problem, minimum()), color=ink.text, linestyle=(0, (1.2, 1.2)), label="sharpness")
    plain_log(axes, x=sizes, y=(2, 3, 5, 10, 20, 30))
    axes.set(xlabel="batch size b", ylabel="statistic")
    axes.legend(frameon=False)


@picture(6.0, 2.4)
def loss_along_the_gradient(figure: Figure, ink: Ink) -> None:
    """The loss along the negative gradient of a diagonal network; the critical step is where it is back at its start."""
    table = es.data.gaussian(20, 4, seed=0)
    problem = es.DiagonalLinearNetwork(table.inputs, table.targets)
    theta = np.full(8, 1.2)
    critical = 2 / es.critical_sharpness(problem, theta)
    quadratic = 2 / (
        problem.gradient(theta)
        @ problem.hessian(theta)
        @ problem.gradient(theta)
        / (problem.gradient(theta) @ problem.gradient(theta))
    )
    eta = np.linspace(0, 1.25 * critical, 120)
    axes = figure.subplots()
    axes.plot(eta, [problem.loss(theta - step * problem.gradient(theta)) for step in eta], color=GREEN, linewidth=1.8)
    axes.axhline(problem.loss(theta), color=ink.text, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot([critical], [problem.loss(theta)], marker="o", color=GREEN, markersize=6)
    axes.annotate(
        r"$\eta_c$", (critical, problem.loss(theta)), xytext=(6, -12), textcoords="offset points", color=GREEN
    )
    axes.axvline(quadratic, color=ink.faint, linewidth=1)
    axes.annotate(
        r"$2\Vert g\Vert^2/g^{\top}Hg$",
        (quadratic, 0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 6),
        textcoords="offset points",
    )
    axes.set(xlabel="step size η", ylabel="L(θ − ηg)")


@picture(7.0, 2.4)
def one_step_changes_the_loss(figure: Figure, ink: Ink) -> None:
    """The mean change of the loss in one step against the step size, measured and by gradient–noise interaction."""
    table, sampling = es.data.gaussian(12, 6, seed=0, noise=0.3), es.WithoutReplacement(3)
    theta = np.random.default_rng(1).standard_normal(12)
    cases = (
        ("regression", es.LinearRegression(table.inputs, table.targets), theta[:6]),
        ("diagonal network", es.DiagonalLinearNetwork(table.inputs, table.targets), theta),
    )
    for axes, (name, problem, point) in zip(figure.subplots(1, 2), cases, strict=True):
        ratio, square = (
            es.gradient_noise_interaction(problem, point, sampling),
            float((problem.gradient(point) ** 2).sum()),
        )
        steps = np.linspace(0.02, 2.6, 14) / ratio
        found = [es.one_step_loss_change(problem, point, sampling, step).value for step in steps]
        axes.axhline(0.0, color=ink.faint, linewidth=1)
        axes.plot(steps * ratio, steps * square * (steps * ratio - 2) / 2, color=PURPLE, label="by GNI")
        axes.plot(steps * ratio, found, linestyle="", marker="o", markersize=3.5, color=ink.text, label="every batch")
        axes.set(title=name, xlabel="η · GNI")
    figure.axes[0].set_ylabel("mean change of the loss")
    figure.axes[0].legend(frameon=False)


@picture(6.0, 2.4)
def three_eigenvalues(figure: Figure, ink: Ink) -> None:
    """The three largest eigenvalues of the full Hessian and of mini-batch Hessians on average, against the batch size."""
    problem, axes = regression(), figure.subplots()
    sizes = [4, 8, 16, 32, 64, 120]
    found = np.array([
        [each.value for each in es.minibatch_top_eigenvalues(problem, minimum(), es.WithoutReplacement(b), 3, n_batches=200)]
        for b in sizes
    ])  # fmt: skip
    for j, color in enumerate((RED, ORANGE, PURPLE)):
        axes.plot(sizes, found[:, j], color=color, marker="osD"[j], label=rf"$E_B\,\lambda_{j + 1}(H_B)$")
        axes.axhline(es.top_eigenvalues(problem, minimum(), 3)[j], color=color, linestyle=(0, (1.2, 1.2)), linewidth=1)
    plain_log(axes, x=sizes)
    axes.set(xlabel="batch size b", ylabel="eigenvalue")
    axes.legend(frameon=False)


@picture(7.0, 2.2)
def four_verdicts(figure: Figure, ink: Ink) -> None:
    """Four series of (η/2)·statistic with their intervals beside the band: settles, above, below, inconclusive."""
    rng = np.random.default_rng(5)
    cases = {
        "settles": (1.01, 0.2, 0.0),
        "above": (1.18, 0.3, 0.0),
        "below": (0.8, 0.3, 0.0),
        "inconclusive": (1.0, 0.2, 0.25),
    }
    for axes, (wanted, (level, memory, drift)) in zip(figure.subplots(1, 4, sharey=True), cases.items(), strict=True):
        noise = np.zeros((8, 60))
        for k in range(1, 60):
            noise[:, k] = memory * noise[:, k - 1] + 0.06 * rng.standard_normal(8)
        series = level + noise + drift * np.linspace(-0.5, 0.5, 60)
        found = es.settling.summarise(series, 0.05, 1.0)
        assert found.verdict == wanted, found
        axes.axhspan(0.95, 1.05, color=ink.faint, linewidth=0, alpha=0.6)
        axes.plot(series[:3].T, color=GREY, linewidth=0.5)
        axes.plot(series.mean(axis=0), color=BLUE, linewidth=1.2)
        axes.errorbar(
            [66],
            [found.value],
            [[found.value - found.interval[0]], [found.interval[1] - found.value]],
            color=RED,
            marker="o",
            capsize=3,
        )
        axes.set(title=wanted, ylim=(0.6, 1.4), xticks=[], xlabel="records")
    figure.axes[0].set_ylabel("(η/2)·statistic")


class Picture(SphinxDirective):
    """A picture in both inks, of which the page shows the one of its mode, and a caption."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in PICTURES:
            raise self.error(f"picture must be one of {', '.join(PICTURES)}, got {name!r}")
        self.env.note_dependency(str(Path(__file__)))
        alt = (PICTURES[name][0].__doc__ or "").strip()
        figure = nodes.figure(classes=["picture"])
        for mode in INKS:
            uri = f"/pictures/{name}_{mode}.svg"
            _, absolute = self.env.relfn2path(uri)
            assert Path(absolute).is_file()
            figure += nodes.image(uri=uri, alt=alt, classes=[f"only-{mode}"])
        caption = nodes.caption()
        inside = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, inside)
        for paragraph in inside.children:
            caption += paragraph.children
        figure += caption
        return [figure]


def draw_all(app: Sphinx) -> None:
    """Every picture that is missing, or older than this file."""
    FOLDER.mkdir(exist_ok=True)
    changed = Path(__file__).stat().st_mtime
    for name, (draw, size) in PICTURES.items():
        paths = {mode: FOLDER / f"{name}_{mode}.svg" for mode in INKS}
        if not all(path.is_file() and path.stat().st_mtime >= changed for path in paths.values()):
            text = _drawn(draw, size)
            for mode, path in paths.items():
                path.write_text(_inked(text, INKS[mode]), encoding="utf-8")


def _drawn(draw: Draw, size: tuple[float, float]) -> str:
    """The picture in the light ink, as SVG."""
    with matplotlib.rc_context(_settings(LIGHT)):
        figure = Figure(figsize=size)
        draw(figure, LIGHT)
        content = io.StringIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _inked(text: str, ink: Ink) -> str:
    """The same picture in another ink: it is computed once."""
    return text.replace(LIGHT.text, ink.text).replace(LIGHT.faint, ink.faint)


def _settings(ink: Ink) -> dict[str, object]:
    colours = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), ink.text)
    return {
        **colours, "font.family": "DejaVu Sans", "font.size": 8.5, "axes.titlesize": 9, "legend.fontsize": 8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "figure.constrained_layout.use": True,
        "figure.facecolor": "none", "axes.facecolor": "none", "savefig.transparent": True,
        "svg.fonttype": "path", "svg.hashsalt": "esssim",
    }  # fmt: skip


def setup(app: Sphinx) -> None:
    app.add_directive("picture", Picture)
