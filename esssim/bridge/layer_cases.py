"""Layers and functions of torch, each in a small network, and whether the bridge's derivatives of it are right."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from esssim._rows import Row
from esssim.bridge.problem import TorchProblem
from esssim.bridge.samplewise import Samplewise

# Differences are right to some 1e-8; what is below this bound is agreement, the same on every machine.
BOUND = 1e-6
# One of them does not straddle a kink.
STEPS = (1e-5, 1e-6, 1e-7)


class Between(nn.Module):
    """Linear, something, linear: inputs (n, 3), or (n, 4, 3) for sequences."""

    def __init__(self, what: Callable[[Tensor], Tensor], units: int = 4, flat: int = 4) -> None:
        super().__init__()
        self.first, self.what, self.last = nn.Linear(3, units), what, nn.Linear(flat, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.what(self.first(x)).flatten(1))


class First(nn.Module):
    """The first of what a layer returns."""

    def __init__(self, layer: nn.Module, copies: int = 1) -> None:
        super().__init__()
        self.layer, self.copies = layer, copies

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(*[x] * self.copies)[0]


class Times(nn.Module):
    """A linear layer that something has been done to, before tanh."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.layer(x))


class Pair(nn.Module):
    """nn.Bilinear of the units and of themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(4, 4, 4)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.layer(z, z))


Case = Callable[[], nn.Module]
ROWS, SEQUENCES, TOKENS = "rows", "sequences", "tokens"


def image(layer: nn.Module, flat: int, units: int = 16) -> nn.Module:
    """On (n, 1, 4, 4)."""
    return Between(nn.Sequential(nn.Unflatten(1, (1, 4, 4)), layer, nn.Tanh()), units, flat)


def line(layer: nn.Module, flat: int, channels: int = 2) -> nn.Module:
    """On (n, channels, 4)."""
    return Between(nn.Sequential(nn.Unflatten(1, (channels, 4)), layer, nn.Tanh()), 4 * channels, flat)


def activation(kind: type[nn.Module]) -> Case:
    return lambda: Between(kind())


def sequence(layer: Callable[[Tensor], Tensor]) -> nn.Module:
    return Between(layer, 4, 16)


def filled(z: Tensor) -> Tensor:
    found = torch.zeros(z.shape, dtype=z.dtype)
    for k in range(z.shape[1]):
        found[:, k] = torch.tanh(z[:, k])
    return found


ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign,
    nn.Tanh,
    nn.Sigmoid, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish,
    nn.ReLU6,
)  # fmt: skip
CASES: dict[str, tuple[Case, str]] = {f"nn.{kind.__name__}": (activation(kind), ROWS) for kind in ACTIVATIONS}
CASES |= {
    "nn.GELU(approximate='tanh')": (lambda: Between(nn.GELU("tanh")), ROWS),
    "nn.GLU": (lambda: Between(nn.GLU(), 8), ROWS),
    "nn.Softmax": (lambda: Between(nn.Softmax(dim=1)), ROWS),
    "nn.LogSoftmax": (lambda: Between(nn.LogSoftmax(dim=1)), ROWS),
    "nn.Bilinear": (lambda: Between(Pair()), ROWS),
    "nn.Conv1d": (lambda: line(nn.Conv1d(2, 2, 2), 6), ROWS),
    "nn.Conv2d": (lambda: image(nn.Conv2d(1, 2, 3), 8), ROWS),
    "nn.ConvTranspose1d": (lambda: line(nn.ConvTranspose1d(2, 1, 2), 5), ROWS),
    "nn.MaxPool2d": (lambda: image(nn.MaxPool2d(2), 4), ROWS),
    "nn.AvgPool2d": (lambda: image(nn.AvgPool2d(2), 4), ROWS),
    "nn.AdaptiveAvgPool2d": (lambda: image(nn.AdaptiveAvgPool2d(2), 4), ROWS),
    "nn.AdaptiveMaxPool1d": (lambda: line(nn.AdaptiveMaxPool1d(2), 4), ROWS),
    "nn.LPPool1d": (lambda: line(nn.LPPool1d(2, 2), 4), ROWS),
    "nn.Upsample(mode='bilinear')": (lambda: image(nn.Upsample(scale_factor=2, mode="bilinear"), 64), ROWS),
    "nn.PixelShuffle": (lambda: Between(nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.PixelShuffle(2), nn.Tanh())),
        ROWS),
    "nn.LayerNorm": (lambda: Between(nn.LayerNorm(4)), ROWS),
    "nn.RMSNorm": (lambda: Between(nn.RMSNorm(4)), ROWS),
    "nn.GroupNorm": (lambda: line(nn.GroupNorm(1, 2), 8), ROWS),
    "nn.InstanceNorm1d": (lambda: line(nn.InstanceNorm1d(2), 8), ROWS),
    "nn.InstanceNorm1d, tracking": (lambda: line(nn.InstanceNorm1d(2, track_running_stats=True), 8), ROWS),
    "nn.LocalResponseNorm": (lambda: line(nn.LocalResponseNorm(2), 8), ROWS),
    "nn.BatchNorm1d in eval mode": (lambda: line(nn.BatchNorm1d(2), 8).eval(), ROWS),
    "nn.BatchNorm1d in train mode": (lambda: line(nn.BatchNorm1d(2), 8), ROWS),
    "nn.Dropout in eval mode": (lambda: Between(nn.Sequential(nn.Tanh(), nn.Dropout())).eval(), ROWS),
    "nn.Dropout in train mode": (lambda: Between(nn.Dropout()), ROWS),
    "F.dropout": (lambda: Between(F.dropout), ROWS),
    "nn.RReLU in train mode": (lambda: Between(nn.RReLU()), ROWS),
    "nn.Embedding": (lambda: nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), nn.Tanh(), nn.Linear(8, 1)), TOKENS),
    "nn.Embedding(max_norm=1)": (lambda: nn.Sequential(nn.Embedding(7, 2, max_norm=1.0), nn.Flatten(),
        nn.Linear(8, 1)), TOKENS),
    "nn.EmbeddingBag": (lambda: nn.Sequential(nn.EmbeddingBag(7, 4), nn.Tanh(), nn.Linear(4, 1)), TOKENS),
    "nn.RNN": (lambda: sequence(First(nn.RNN(4, 4, batch_first=True))), SEQUENCES),
    "nn.LSTM": (lambda: sequence(First(nn.LSTM(4, 4, batch_first=True))), SEQUENCES),
    "nn.GRU": (lambda: sequence(First(nn.GRU(4, 4, batch_first=True))), SEQUENCES),
    "nn.MultiheadAttention": (lambda: sequence(First(nn.MultiheadAttention(4, 2, batch_first=True), 3)), SEQUENCES),
    "F.scaled_dot_product_attention": (lambda: sequence(lambda z: F.scaled_dot_product_attention(z, z, z)), SEQUENCES),
    "nn.TransformerEncoderLayer in eval mode": (
        lambda: sequence(nn.TransformerEncoderLayer(4, 2, 4, activation="gelu", batch_first=True)).eval(), SEQUENCES,
    ),
    "weight_norm": (lambda: Between(Times(parametrizations.weight_norm(nn.Linear(4, 4)))), ROWS),
    "spectral_norm in eval mode": (lambda: Between(Times(parametrizations.spectral_norm(nn.Linear(4, 4)))).eval(),
        ROWS),
    "spectral_norm in train mode": (lambda: Between(Times(parametrizations.spectral_norm(nn.Linear(4, 4)))), ROWS),
    "F.normalize": (lambda: Between(F.normalize), ROWS),
    "F.cosine_similarity": (lambda: Between(lambda z: F.cosine_similarity(z, z.flip(1) + 1, dim=1)[:, None], 4, 1),
        ROWS),
    "F.grid_sample": (
        lambda: Between(lambda z: F.grid_sample(
            z.new_ones(len(z), 1, 3, 3).cumsum(2).cumsum(3).sin(), torch.tanh(z).view(-1, 1, 2, 2), align_corners=True
        ), 4, 2), ROWS,
    ),
    "torch.cdist": (lambda: Between(lambda z: torch.cdist(z[:, None], z[:, None] + 1).flatten(1), 4, 1), ROWS),
    "torch.logsumexp": (lambda: Between(lambda z: torch.logsumexp(z, dim=1, keepdim=True), 4, 1), ROWS),
    "torch.linalg.det": (lambda: Between(lambda z: torch.linalg.det(z.view(-1, 2, 2))[:, None], 4, 1), ROWS),
    "torch.linalg.eigvalsh": (lambda: Between(lambda z: torch.linalg.eigvalsh(z.view(-1, 2, 2)), 4, 2), ROWS),
    "torch.fft.rfft": (lambda: Between(lambda z: torch.fft.rfft(torch.tanh(z)).abs().square(), 4, 3), ROWS),
    "torch.sort": (lambda: Between(lambda z: torch.sort(torch.tanh(z), dim=1).values), ROWS),
    "torch.cumprod": (lambda: Between(lambda z: torch.cumprod(z, dim=1)), ROWS),
    "torch.special.i0": (lambda: Between(torch.special.i0), ROWS),
    "torch.erf": (lambda: Between(torch.erf), ROWS),
    "torch.sqrt of a square": (lambda: Between(lambda z: torch.sqrt(z.square() + 0.1)), ROWS),
    "torch.round": (lambda: Between(lambda z: torch.round(z) + torch.tanh(z)), ROWS),
    "torch.zeros filled by index": (lambda: Between(filled), ROWS),
}  # fmt: skip


def data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs: dict[str, Any] = {
        ROWS: rng.standard_normal((8, 3)), SEQUENCES: rng.standard_normal((8, 4, 3)),
        TOKENS: rng.integers(0, 7, (8, 4)),
    }  # fmt: skip
    return inputs[kind], rng.standard_normal(8)


def row(name: str) -> Row:
    """What becomes of one case: its route and the largest error, or the message."""
    make, kind = CASES[name]
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem = TorchProblem(make(), *data(kind))
    except ValueError as error:
        return {"name": name, "verdict": "refused", "message": str(error).replace(torch.__version__, version())}
    largest = largest_error(problem)
    verdict = "agrees" if largest <= BOUND else "differs"
    route = "one by one" if isinstance(problem.functional, Samplewise) else "all at once"
    return {"name": name, "verdict": verdict, "route": route, "error": max(BOUND, 10.0 ** np.ceil(np.log10(largest)))}


def largest_error(problem: TorchProblem) -> float:
    """Of all entries of the gradient and of the Hessian against differences, near the start, of the largest entry."""
    p = problem.n_params
    theta = problem.theta0 + 0.1 * np.random.default_rng(1).standard_normal(p)
    return min(_error(problem, theta, h * np.eye(p), h) for h in STEPS)


def _error(problem: TorchProblem, theta: np.ndarray, units: np.ndarray, h: float) -> float:
    gradient = (problem.loss(theta + units) - problem.loss(theta - units)) / (2 * h)
    hessian = (problem.gradient(theta + units) - problem.gradient(theta - units)) / (2 * h)
    pairs = ((problem.gradient(theta), gradient), (problem.hessian(theta), hessian))
    return max(float(np.abs(found - wanted).max() / np.abs(found).max()) for found, wanted in pairs)


def version() -> str:
    return str(torch.__version__).split("+")[0]


def product_error(name: str, vectors: int = 3) -> float | None:
    """The largest error of Hv over random directions v against differences of the gradient, ‖·‖/‖Hv‖; None where
    refused.
    """
    make, kind = CASES[name]
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            problem = TorchProblem(make(), *data(kind))
    except ValueError:
        return None
    return _product_error(problem, vectors)


def unchecked_product_error(name: str, vectors: int = 3) -> float | None:
    """The same without the check of derivatives: what torch gives; None where there is no such problem, or no
    number.
    """
    make, kind = CASES[name]
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _product_error(TorchProblem(make(), *data(kind), check=False), vectors)
    except (ValueError, RuntimeError, NotImplementedError):
        return None


def _product_error(problem: TorchProblem, vectors: int) -> float:
    rng = np.random.default_rng(2)
    theta = problem.theta0 + 0.1 * rng.standard_normal(problem.n_params)
    everyone = np.arange(problem.n_samples)[None]
    worst = 0.0
    for v in rng.standard_normal((vectors, problem.n_params)):
        v /= np.linalg.norm(v)
        product = problem.hessian_products(theta, everyone, v[None])[0]
        differences = [(problem.gradient(theta + h * v) - problem.gradient(theta - h * v)) / (2 * h) for h in STEPS]
        scale = np.linalg.norm(product) or 1.0
        worst = max(worst, min(float(np.linalg.norm(product - each) / scale) for each in differences))
    return worst
