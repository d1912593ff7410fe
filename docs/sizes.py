"""What a measurement of a network costs, by its size: docs/sizes.md from docs/sizes.json.

python docs/sizes.py           measure anew (half an hour on one core) and write both
python docs/sizes.py --check   exit 1 if the page and the numbers differ
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import esssim as es
from esssim._rows import Row
from esssim._validate import FloatArray, IntArray
from esssim.report.pages import keep_measured_page
from esssim.spectra import lanczos_top_pairs
from esssim.spectra.leading import BLOCK, block_lanczos

B, N_BATCHES = 32, 4
# Seconds of the measurement that has a budget.
BUDGET = 10.0
# Of the matrices on which one vector is compared with a block.
SIZE = 20_000

HEAD = """# What a measurement costs

Made by `python docs/sizes.py` on one core ({cpu}, torch {torch}). Every network is at PyTorch's default start, on
scikit-learn's digits, enlarged to the numbers of an input, or on normal numbers; batches of {b} without replacement. Seconds are processor time,
memory is the largest that the process ever had, the network and its data included. n·rows: the rows of the Gram matrix,
n·c for squared loss and n·(c − 1) for cross-entropy.

## Q_b, enclosed

`es.bridge.mean_square_enclosure` with its default tolerance of 1 %, the width of the interval relative to the value; all
samples are taken. Then with `seconds={budget:g}`: so many samples are drawn, the interval is that of their Q_b, and the
standard error (s.e.) that of the value for all samples. That budget is of the clock: on a machine that is busy with
other work it takes fewer samples.

The convolutional network takes products with the Gram matrix in place of the matrix. The upper end fails with a
probability of at most {failure:.0e}; rounding in float32, which is not in the interval, moves these products by
{rounding:.1g}, relatively, as measured on up to 32 samples. On normal inputs no number of directions is enough: the
interval stays wide.

"""
MIDDLE = """
## Sharpness and MiniBS

Of the full Hessians, by their products with vectors: `es.sharpness`, and `es.minibatch_sharpness` of {n_batches} batches.
Eigenvalues have a relative residual of at most 1e-8 in float64 and 1e-4 in float32.

"""
LAST = """
## One vector or a block of vectors

The largest eigenvalues of batches come from Lanczos with one vector for each batch, and thick restarts. A block of
{block} random vectors, as for several leading eigenvalues at once, also finds a cluster of eigenvalues. For the largest
one alone it takes more products with the matrix, at every spectrum that we tried: diagonal matrices of size {size:,}, a
relative residual of at most 1e-8. The error is the distance to the largest eigenvalue, 1.

| spectrum | one vector: products | error | block: products | error |
|---|---:|---:|---:|---:|
"""


class Transformer(nn.Module):
    """Two layers on the 16 pieces of 48 numbers of an input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 96)
        layer = nn.TransformerEncoderLayer(96, 4, 192, dropout=0.0, activation="gelu", batch_first=True)
        self.layers, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layers(self.embed(x.unflatten(1, (16, 48)))).mean(dim=1))


def perceptron(*widths: int) -> nn.Module:
    """Linear layers with tanh between."""
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(widths):
        layers += [nn.Linear(d_in, d_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def convolutional() -> nn.Module:
    """Five convolutions on 3×32×32 images, of 10⁶ parameters."""
    widths, layers = (3, 32, 64, 128, 256, 256), [nn.Unflatten(1, (3, 32, 32))]
    for k, (d_in, d_out) in enumerate(pairwise(widths)):
        layers += [nn.Conv2d(d_in, d_out, 3, stride=2 if k < 4 else 1, padding=1), nn.GELU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, 10))


class Case(NamedTuple):
    """A network, n samples of so many numbers, digits or normal ones, and what is measured of it."""

    name: str
    build: Callable[[], nn.Module]
    n: int
    numbers: int
    loss: str
    dtype: str
    digits: bool = True
    what: tuple[str, ...] = ("full", "budget", "sharpness", "minibatch_sharpness")


LARGE = partial(perceptron, 3072, 2400, 1000, 10)
UNHURRIED, BUDGETED = ("full", "sharpness", "minibatch_sharpness"), ("full", "budget")
CASES = (
    Case("perceptron 64–32–10", partial(perceptron, 64, 32, 10), 512, 64, "squared", "float64", what=UNHURRIED),
    Case("perceptron 64–32–10", partial(perceptron, 64, 32, 10), 1797, 64, "cross_entropy", "float32", what=UNHURRIED),
    Case("perceptron 3072–32–10", partial(perceptron, 3072, 32, 10), 512, 3072, "squared", "float32", what=UNHURRIED),
    Case("the same, normal inputs", partial(perceptron, 3072, 32, 10), 512, 3072, "squared", "float32", False,
         what=UNHURRIED),
    Case("transformer", Transformer, 256, 768, "cross_entropy", "float32"),
    Case("convolutional", convolutional, 128, 3072, "cross_entropy", "float32"),
    Case("convolutional", convolutional, 128, 3072, "cross_entropy", "float64", what=BUDGETED),
    Case("convolutional", convolutional, 512, 3072, "cross_entropy", "float32", what=BUDGETED),
    Case("convolutional", convolutional, 1797, 3072, "cross_entropy", "float32", what=BUDGETED),
    Case("perceptron 3072–2400–1000–10", LARGE, 512, 3072, "squared", "float32"),
    Case("perceptron 3072–2400–1000–10", LARGE, 1797, 3072, "squared", "float32", what=("budget",)),
)  # fmt: skip


def problem_of(case: Case) -> es.bridge.TorchProblem:
    """On digits, enlarged to the numbers of an input, or on normal ones with random labels."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    if case.digits:
        data = es.bridge.data.classes("digits", case.n)
        times, channels = {64: (1, 1), 768: (2, 3), 3072: (4, 3)}[case.numbers]
        images = data.inputs.reshape(-1, 1, 8, 8).repeat(times, axis=2).repeat(times, axis=3).repeat(channels, axis=1)
        inputs, labels = images.reshape(case.n, -1), data.labels
    else:
        inputs, labels = rng.standard_normal((case.n, case.numbers)), rng.integers(0, 10, case.n)
    targets = labels if case.loss == "cross_entropy" else np.eye(10)[labels]
    return es.bridge.TorchProblem(case.build(), inputs, targets, case.loss, case.dtype)  # type: ignore[arg-type]


def measured(case: Case, what: str) -> Row:
    """One measurement, in a process of its own."""
    torch.set_num_threads(1)
    built = time.process_time()
    problem = problem_of(case)
    theta, sampling = problem.theta0, es.WithoutReplacement(B)
    began = time.process_time()
    found: dict[str, Any] = {}
    if what == "sharpness":
        found = {"value": es.sharpness(problem, theta)}
    elif what == "minibatch_sharpness":
        estimate = es.minibatch_sharpness(problem, theta, sampling, n_batches=N_BATCHES, draws="uniform")
        found = {"value": estimate.value, "standard_error": estimate.standard_error}
    else:
        options = {"seconds": BUDGET} if what == "budget" else {}
        found = es.bridge.mean_square_enclosure(problem, theta, sampling, **options)._asdict()
    seconds = time.process_time() - began
    rows = case.n * (9 if case.loss == "cross_entropy" else 10)
    return {
        "network": case.name, "what": what, "n_params": problem.n_params, "n": case.n, "n_outputs": 10, "n_rows": rows,
        "loss": case.loss, "dtype": case.dtype, **found, "build_seconds": began - built, "cpu_seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


class Diagonal:
    """What Lanczos needs to know of a diagonal matrix, with its products counted."""

    start, tolerance = None, 1e-8

    def __init__(self, spectrum: FloatArray) -> None:
        self.spectrum, self.n_params, self.products = spectrum, len(spectrum), 0

    def times(self, vectors: FloatArray) -> FloatArray:
        self.products += len(vectors)
        return vectors * self.spectrum

    def bound(self, batches: IntArray) -> Callable[[FloatArray], FloatArray]:
        return self.times


def spectra() -> dict[str, FloatArray]:
    """Diagonals with the largest entry 1."""
    bulk = np.random.default_rng(0).uniform(-0.5, 0.5, SIZE)
    near = np.arange(10.0)
    top = {
        "1 and a bulk up to ½": np.ones(1), "ten within 1e-3 and the bulk": 1 - 1e-4 * near,
        "ten within 1e-6 and the bulk": 1 - 1e-7 * near, "ten equal ones and the bulk": np.ones(10),
    }  # fmt: skip
    found = {name: np.concatenate([values, bulk[len(values) :]]) for name, values in top.items()}
    return found | {"1/k": 1 / np.arange(1.0, SIZE + 1), "evenly from 0 to 1": np.linspace(0.0, 1.0, SIZE)}


def one_or_block(name: str, spectrum: FloatArray) -> Row:
    """Products and error of both; None where the block does not converge."""
    one, block = Diagonal(spectrum), Diagonal(spectrum)
    found = lanczos_top_pairs(one, np.zeros((1, 1), dtype=np.int64)).values[0]  # type: ignore[arg-type]
    row = {"spectrum": name, "one": one.products, "one_error": abs(found - 1.0)}
    try:
        values, _ = block_lanczos(block.times, SIZE, 1, tolerance=Diagonal.tolerance)
    except RuntimeError:
        return row | {"block": block.products, "block_error": None}
    return row | {"block": block.products, "block_error": abs(values[-1] - 1.0)}


def measure() -> dict[str, list[Row]]:
    rows = []
    for case in CASES:
        for what in case.what:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows.append(pool.apply(measured, (case, what)))
            print(f"{case.name}, n = {case.n}, {what}: {rows[-1]['cpu_seconds']:.1f} s", file=sys.stderr, flush=True)
    lanczos = [one_or_block(name, spectrum) for name, spectrum in spectra().items()]
    return {"where": [{"torch": torch.__version__, "cpu": cpu()}], "sizes": rows, "lanczos": lanczos}


def cpu() -> str:
    """What the processor calls itself."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = {line.split(":")[1].strip() for line in file if line.startswith("model name")}
    return f"{', '.join(sorted(names))}, {os.cpu_count()} cores"


def size(row: Row) -> str:
    """The cells that say what was measured."""
    return (
        f"| {row['network']} | {row['n_params']:,} | {row['n']:,} | {row['n_rows']:,} | {row['n_outputs']} | "
        f"{row['loss'].replace('_', '-')}, {row['dtype']} |"
    )


def markdown(content: dict[str, list[Row]]) -> str:
    """The whole page."""
    rows = content["sizes"]
    of = {what: [row for row in rows if row["what"] == what] for what in ("full", "budget", "sharpness")}
    minibatch = {(row["network"], row["n"], row["dtype"]): row for row in rows if row["what"] == "minibatch_sharpness"}
    columns = "| network | p | n | n·rows | c | loss, dtype |"
    where = content["where"][0]
    products = [row for row in of["full"] if row["network"] == "convolutional"]
    text = HEAD.format(
        cpu=where["cpu"], torch=where["torch"], b=B, budget=BUDGET,
        failure=max(row["failure_probability"] for row in products), rounding=max(row["rounding"] for row in products),
    )  # fmt: skip
    text += (
        columns
        + " Q_b | interval | rank | seconds | memory, MB |\n|---|---:|---:|---:|---:|---|---:|---|---:|---:|---:|\n"
    )
    for row in of["full"]:
        text += (
            f"{size(row)} {row['value']:.5g} | [{row['lower']:.5g}, {row['upper']:.5g}] | {row['rank']} | "
            f"{row['cpu_seconds']:.1f} | {row['peak_mb']:,.0f} |\n"
        )
    text += (
        "\n"
        + columns
        + " samples | Q_b | interval | s.e. | seconds |\n|---|---:|---:|---:|---:|---|---:|---:|---|---:|---:|\n"
    )
    for row in of["budget"]:
        text += (
            f"{size(row)} {row['n_samples']:,} | {row['value']:.5g} | [{row['lower']:.5g}, {row['upper']:.5g}] | "
            f"{row['standard_error']:.1g} | {row['cpu_seconds']:.1f} |\n"
        )
    text += MIDDLE.format(n_batches=N_BATCHES)
    text += columns + " sharpness | seconds | memory, MB | MiniBS | seconds | build, seconds |\n"
    text += "|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|\n"
    for row in of["sharpness"]:
        batch = minibatch.get((row["network"], row["n"], row["dtype"]))
        of_batches = "– | –"
        if batch is not None:
            of_batches = f"{batch['value']:.4g} ± {batch['standard_error']:.1g} | {batch['cpu_seconds']:.1f}"
        text += (
            f"{size(row)} {row['value']:.5g} | {row['cpu_seconds']:.1f} | {row['peak_mb']:,.0f} | {of_batches} | "
            f"{row['build_seconds']:.1f} |\n"
        )
    text += LAST.format(block=BLOCK, size=SIZE)
    for row in content["lanczos"]:
        # In one piece: a line does not break in a number.
        one, block = (
            "not converged" if error is None else f"{error:.0e}".replace("-", "\u2011") if error else "0"
            for error in (row["one_error"], row["block_error"])
        )
        text += f"| {row['spectrum']} | {row['one']:,} | {one} | {row['block']:,} | {block} |\n"
    return text


def main() -> int:
    return keep_measured_page(__file__, markdown, measure)


if __name__ == "__main__":
    sys.exit(main())
