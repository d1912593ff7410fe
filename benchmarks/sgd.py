"""One step of SGD on a diagonal linear network, its batch drawn inside, against a loop in plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import esssim as es

from .instances import Array, Instance, sizes
from .table import Goal, Row, compare
from .timing import Side

AT_LEAST = {100: 150.0, 1000: 30.0, 2000: 4.0}
# Long enough that the set-up of a run is less than a tenth of its time.
STEPS = {100: 1_000_000, 1000: 200_000, 2000: 40_000}
RIVAL_STEPS = {100: 10_000, 1000: 10_000, 2000: 5_000}
Draw = Callable[[int, int], Array]
# How one draws b of n without replacement in numpy.
DRAWS: dict[str, Callable[[np.random.Generator], Draw]] = {
    "choice(n, b, replace=False)": lambda rng: lambda n, b: rng.choice(n, b, replace=False),
    "permutation(n)[:b]": lambda rng: lambda n, b: rng.permutation(n)[:b],
}


def rows(quick: bool) -> Iterator[Row]:
    for instance in sizes(quick):
        steps, rival_steps = STEPS[instance.n] // (10 if quick else 1), RIVAL_STEPS[instance.n]
        for words, draw in DRAWS.items():
            # A whole permutation is the faster way where n is small, and there only.
            if words.startswith("permutation") and instance.n > 100:
                continue
            drawn = draw(np.random.default_rng(0))
            row = compare(
                "sgd",
                "SGD step, diagonal network",
                f"{instance}, {steps:,} steps",
                ours=Side(lambda r, i=instance, k=steps: run(i, k, seed=r), steps),
                rival=Side(lambda r, i=instance, k=rival_steps, f=drawn: numpy_loop(i, k, f), rival_steps),
                against=f"numpy loop with {words}",
                limit=Side(lambda r, i=instance: matrix_products(i), flops_of_product() // flops(instance)),
                limit_name="its flops as one matrix product",
                goal=Goal("ratio", at_least=AT_LEAST[instance.n]),
                errors=accuracy(instance, draw),
            )
            yield Row(**{**vars(row), "note": f"{flops(instance) / row.seconds.median / 1e9:.2g} GF/s"})


def run(instance: Instance, n_steps: int, seed: int) -> Array:
    trace = es.simulate(
        instance.network,
        instance.theta,
        step_size=instance.step_size,
        sampling=instance.sampling,
        n_steps=n_steps,
        record=("theta",),
        n_records=1,
        seed=seed,
    )
    return np.asarray(trace.theta.values[0, -1])


def numpy_loop(instance: Instance, n_steps: int, draw: Draw, number: type = np.float64) -> Array:
    """What one would write; `number` np.longdouble gives the reference."""
    inputs, targets = instance.inputs.astype(number), instance.targets.astype(number)
    u, v = np.split(instance.theta.astype(number), 2)
    n, b, scale = instance.n, instance.b, number(instance.step_size) / number(instance.b)
    for _ in range(n_steps):
        batch = draw(n, b)
        rows = inputs[batch]
        s = (rows @ (u * v) - targets[batch]) @ rows
        s *= scale
        u, v = u - s * v, v - s * u
    return np.concatenate((u, v))


def accuracy(
    instance: Instance, draw: Callable[[np.random.Generator], Draw], n_steps: int = 200
) -> tuple[float, float]:
    """Relative error of θ after n_steps, of ours and of the numpy loop, against 80-bit arithmetic on the same
    batches.
    """
    stream = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(0,)))
    theirs = numpy_loop(instance, n_steps, draw(np.random.default_rng(2)))
    return (
        distance_to_exact(run(instance, n_steps, seed=1), instance, n_steps, replayed_draw(stream, instance.n)),
        distance_to_exact(theirs, instance, n_steps, draw(np.random.default_rng(2))),
    )


def distance_to_exact(theta: Array, instance: Instance, n_steps: int, draw: Draw) -> float:
    """max |θ − θ*| / max |θ*|, θ* the same steps in 80-bit arithmetic."""
    exact = numpy_loop(instance, n_steps, draw, np.longdouble)
    return float(np.abs(theta - exact).max() / np.abs(exact).max())


def replayed_draw(rng: np.random.Generator, n: int) -> Draw:
    """The batches of the compiled loop: a partial Fisher–Yates shuffle, one double of the generator per index."""
    order = np.arange(n)

    def draw(n: int, b: int) -> Array:
        for i in range(b):
            j = i + int(rng.random() * (n - i))
            order[i], order[j] = order[j], order[i]
        return order[:b].copy()

    return draw


def flops(instance: Instance) -> int:
    """Multiplications and additions of one step: residuals, covector, weights, pull-back and update."""
    return 4 * instance.b * instance.d + 5 * instance.d


PRODUCT_SIZE = 512


def flops_of_product() -> int:
    return 2 * PRODUCT_SIZE**3


def matrix_products(instance: Instance) -> Array:
    square = np.ones((PRODUCT_SIZE, PRODUCT_SIZE))
    return square @ square
