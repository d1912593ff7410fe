"""Data for small networks, none of it downloaded: inputs (n, d) and targets (n, c)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esssim import _validate
from esssim import data as tables
from esssim._validate import FloatArray, IntArray
from esssim.data import Data

CLASS_TABLES = ("digits", "wine", "breast_cancer")


@dataclass(frozen=True, eq=False)
class NetworkData:
    """Inputs xᵢ (n, d), targets yᵢ (n, c), and for classes their labels (n,), of which the targets are the one-hot
    rows.
    """

    inputs: FloatArray
    targets: FloatArray
    name: str
    labels: IntArray | None = None

    @property
    def n_samples(self) -> int:
        """n."""
        return int(self.inputs.shape[0])

    @property
    def n_inputs(self) -> int:
        """d."""
        return int(self.inputs.shape[1])

    @property
    def n_outputs(self) -> int:
        """c."""
        return int(self.targets.shape[1])

    def loss_targets(self, loss: str) -> FloatArray | IntArray:
        """What a loss compares outputs with: labels for "cross_entropy", targets otherwise."""
        if loss == "cross_entropy":
            if self.labels is None:
                raise ValueError(f"loss 'cross_entropy' needs classes, {self.name} has none")
            return self.labels
        return self.targets


def classes(name: str = "digits", n_samples: int | None = None) -> NetworkData:
    """A table of scikit-learn with classes: "digits" (1797, 64), "wine" (178, 13) or "breast_cancer" (569, 30).

    Inputs are standardised over the whole table (digits: the grey levels divided by 16, since a pixel that is dark in
    all images but one would dwarf the others), targets one-hot. n_samples: the first so many rows of a permutation
    that is always the same, so that smaller sets are parts of larger ones. Raises ValueError for an unknown name.
    """
    _validate.choice("name", name, CLASS_TABLES)
    raw = tables.load(name, standardize=False)
    inputs, labels = raw.inputs / 16 if name == "digits" else tables.load(name).inputs, raw.targets.astype(np.int64)
    count = len(inputs) if n_samples is None else _validate.integer("n_samples", n_samples, 2, len(inputs), name)
    rows = np.random.default_rng(0).permutation(len(inputs))[:count]
    return _one_hot(inputs[rows], labels[rows], name)


def teacher(n_samples: int, n_inputs: int, *, units: int = 3, n_outputs: int = 1, seed: int = 0) -> NetworkData:
    """Targets f(x) = Σⱼ vⱼ tanh(wⱼᵀx) of a random network on standard normal inputs, wⱼ ~ N(0, I/d), vⱼ ~ N(0, I_c)."""
    n, d = _validate.integer("n_samples", n_samples, 1), _validate.integer("n_inputs", n_inputs, 1)
    rng = np.random.default_rng(_validate.integer("seed", seed, 0))
    inputs = rng.standard_normal((n, d))
    weights = rng.standard_normal((_validate.integer("units", units, 1), d)) / np.sqrt(d)
    hidden = np.tanh(inputs @ weights.T)
    outer = rng.standard_normal((_validate.integer("n_outputs", n_outputs, 1), len(weights)))
    return NetworkData(inputs, np.column_stack([hidden @ row for row in outer]), "teacher")


def two_moons(n_samples: int, *, noise: float = 0.1, seed: int = 0) -> NetworkData:
    """Two interleaved half circles in the plane with normal noise of that deviation, one-hot targets."""
    from sklearn.datasets import make_moons

    n = _validate.integer("n_samples", n_samples, 2)
    deviation = _validate.real("noise", noise, at_least=0.0)
    inputs, labels = make_moons(n, noise=deviation, random_state=_validate.integer("seed", seed, 0))
    return _one_hot(inputs, labels.astype(np.int64), "two moons")


def sparse_parity(n_samples: int, n_inputs: int, *, order: int = 2, seed: int = 0) -> NetworkData:
    """Inputs ±1, target the product of the first `order` of them: (n, d) and (n, 1)."""
    n, d = _validate.integer("n_samples", n_samples, 1), _validate.integer("n_inputs", n_inputs, 1)
    rng = np.random.default_rng(_validate.integer("seed", seed, 0))
    inputs = rng.choice((-1.0, 1.0), size=(n, d))
    order = _validate.integer("order", order, 1, d, "n_inputs")
    return NetworkData(inputs, inputs[:, :order].prod(axis=1, keepdims=True), "sparse parity")


def from_table(table: Data) -> NetworkData:
    """A table with one number to predict: targets (n, 1)."""
    _validate.instance("table", table, Data, "data.load returns")
    return NetworkData(table.inputs, table.targets[:, None], table.name)


def _one_hot(inputs: FloatArray, labels: IntArray, name: str) -> NetworkData:
    return NetworkData(np.ascontiguousarray(inputs), np.eye(int(labels.max()) + 1)[labels], name, labels)
