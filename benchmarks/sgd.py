"""One step of SGD on a diagonal linear network, its batch drawn inside, against a loop in plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import esssim as es

from .instances import Array, Instance, relative_error, sizes
from .table import Goal, Row, compare
from .timing import Side

AT_LEAST = {100: 150.0, 1000: 30.0, 2000: 4.0}
# Long enough that the set-up of a run is less than a tenth of its time.
STEPS = {100: 1_000_000, 1000: 200_000, 2000: 10_000}
RIVAL_STEPS = {100: 10_000, 1000: 10_000, 2000: 5_000}
Draw = Callable[[int, int], Array]


def rows(quick: bool) -> Iterator[Row]:
    for instance in sizes(quick):
        n, steps, rival_steps = instance.n, STEPS[instance.n] // (10 if quick else 1), RIVAL_STEPS[instance.n]
        rng = np.random.default_rng(0)
        row = compare(
            "sgd",
            "SGD step, diagonal network",
            str(instance),
            ours=Side(lambda r, i=instance, k=steps: run(i, k, seed=r), steps),
            rival=Side(lambda r, i=instance, k=rival_steps, g=rng: numpy_loop(i, k, numpy_draw(g, i.n)), rival_steps),
            against=f"numpy loop, {'permutation(n)[:b]' if n <= 100 else 'choice(n, b, replace=False)'}",
            limit=Side(lambda r, i=instance: matrix_products(i), flops_of_product() // flops(instance)),
            limit_name="its flops as one matrix product",
            goal=Goal("ratio", at_least=AT_LEAST[n]),
            errors=accuracy(instance),
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


def numpy_draw(rng: np.random.Generator, n: int) -> Draw:
    """The faster of numpy's two ways to draw without replacement, at this n."""
    if n <= 100:
        return lambda n, b: rng.permutation(n)[:b]
    return lambda n, b: rng.choice(n, b, replace=False)


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


def accuracy(instance: Instance, n_steps: int = 200) -> tuple[float, float]:
    """Relative error of θ after n_steps, of ours and of the numpy loop, against 80-bit arithmetic on the same batches."""
    rng = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(0,)))
    ours = relative_to_exact(run(instance, n_steps, seed=1), instance, n_steps, lambda: replayed_draw(rng, instance.n))
    draw = numpy_loop(instance, n_steps, numpy_draw(np.random.default_rng(2), instance.n))
    theirs = relative_to_exact(draw, instance, n_steps, lambda: numpy_draw(np.random.default_rng(2), instance.n))
    return ours, theirs


def relative_to_exact(theta: Array, instance: Instance, n_steps: int, draw: Callable[[], Draw]) -> float:
    exact = numpy_loop(instance, n_steps, draw(), np.longdouble)
    scale = np.abs(exact).max()
    return relative_error((theta - exact) / scale + 1, np.ones_like(exact))


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
