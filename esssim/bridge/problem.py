"""A torch network with its data as a problem of esssim."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from esssim import _validate
from esssim._fingerprint import attributes, fingerprints
from esssim._validate import FloatArray, IntArray
from esssim.bridge import checks, losses
from esssim.bridge.curvature import TorchCurvature
from esssim.bridge.fingerprints import surroundings
from esssim.bridge.functional import Functional
from esssim.problems import (
    Curvature,
    DenseCurvature,
    LowRankCurvature,
    MultiOutputLeastSquares,
    NonlinearLeastSquares,
    Problem,
)
from esssim.problems.operators import BlockCurvature

LARGEST_NETWORK = 100_000
# Below both, all per-sample Hessians are formed: 512 MB at most.
DENSE_PARAMS = 300
DENSE_NUMBERS = 2**26
# Numbers in the largest intermediate array: 32 MB.
CHUNK_NUMBERS = 2**22
# Numbers in the Jacobians of all samples, 1 GB, and in one Hessian, 200 MB.
JACOBIAN_NUMBERS = 2**27
HESSIAN_NUMBERS = 5000**2
# Attributes that follow from the others.
DERIVED = {"_functional", "_kind", "_root", "_x", "_y", "loss_name"}

# What a loss decides, and no two of which may disagree.
DERIVED = ("gradient", "hessian", "hessian_products", "sample_gradients", "sample_hessians", "sample_losses")

Loss = Literal["squared", "cross_entropy"] | losses.SampleLoss


class TorchProblem(Problem):
    """ℓᵢ(θ) = ℓ(f(θ, xᵢ), yᵢ) for an `nn.Module` f of up to 10⁵ parameters, θ in `named_parameters` order.

    loss: "squared", ½‖f − y‖²; "cross_entropy", −log softmax(f)_y; or ℓ(f, y) as a function of one sample's outputs (c,)
    and target, of torch operations. inputs: (n, ...), as the module takes them; targets: (n, c), (n,) for one output, or
    class labels (n,) for cross-entropy. dtype: that of the computation in torch; theta and all results are float64
    arrays. tolerance: the relative residual of every eigenvalue that is found by iteration (1e-8; 1e-4 in float32).

    `module` is a copy; `theta0` (p,) its parameters, `n_outputs` c. A problem with squared loss is a
    `NonlinearLeastSquares` (one output) or a `MultiOutputLeastSquares`, on which label noise and `esssim.flow` work.
    Raises ValueError for data that do not fit, layers that mix samples or draw at random, tied, frozen or unused
    parameters, and networks that are too large.
    """

    def __new__(
        cls,
        module: nn.Module | None = None,
        inputs: Any = None,
        targets: Any = None,
        loss: Loss = "squared",
        dtype: Literal["float64", "float32"] = "float64",
        *,
        tolerance: float | None = None,
    ) -> TorchProblem:
        """The subclass with residuals for squared loss, by the targets' shape; without arguments, as pickle calls it."""
        if cls is not TorchProblem or targets is None or not (isinstance(loss, str) and loss == "squared"):
            return super().__new__(cls)
        return super().__new__(_ScalarTorchProblem if np.shape(targets)[1:] in ((), (1,)) else _MultiOutputTorchProblem)

    def __init_subclass__(cls) -> None:
        """ValueError for a subclass that changes some of the loss and its derivatives only: nothing else would see it."""
        changed = [name for name in DERIVED if name in vars(cls)]
        left = [name for name in DERIVED if getattr(cls, name) is getattr(TorchProblem, name)]
        if changed and left:
            raise ValueError(
                f"{cls.__name__} overrides {', '.join(changed)}, but not {', '.join(left)}: override all of them, "
                "so that the training loop and every statistic see the same loss, or none"
            )

    def __init__(
        self,
        module: nn.Module,
        inputs: npt.ArrayLike | Tensor,
        targets: npt.ArrayLike | Tensor,
        loss: Loss = "squared",
        dtype: Literal["float64", "float32"] = "float64",
        *,
        tolerance: float | None = None,
    ) -> None:
        self.dtype = _validate.choice("dtype", dtype, tuple(checks.DTYPES))
        self.tolerance = checks.check_tolerance(tolerance, self.dtype)
        checks.check_module(module)
        n_params = sum(parameter.numel() for parameter in module.parameters())
        if n_params > LARGEST_NETWORK:
            raise ValueError(
                f"module must have at most {LARGEST_NETWORK:,} parameters, got {n_params:,}: the Lanczos vectors of one "
                f"batch alone would take {n_params * 96 * 8 / 1e9:.1f} GB"
            )
        self._kind = torch.float64 if self.dtype == "float64" else torch.float32
        self.inputs = _data("inputs", inputs)
        super().__init__(len(self.inputs), n_params)
        self.module = copy.deepcopy(module).to(self._kind)
        checks.check_held("inputs", self.inputs, self.dtype)
        self._x = torch.as_tensor(self.inputs, dtype=self._kind)
        self.n_outputs = self._probe()
        self.loss_name, sample_loss, self._root = _loss(loss)
        self.targets = self._targets(targets)
        self._y = torch.as_tensor(self.targets, dtype=torch.int64 if self.loss_name == "cross_entropy" else self._kind)
        self._functional = Functional(self.module, sample_loss)
        if self.loss_name == "squared":
            checks.check_held("outputs and targets", self._squared(), self.dtype, power=2)

    def _probe(self) -> int:
        """The number of outputs; ValueError where the module does not run on the inputs or misbehaves."""
        try:
            checks.check_behaviour(self.module, self._x)
            return int(self.module(self._x[:1]).numel())
        except (RuntimeError, TypeError, IndexError) as error:
            words = " ".join(str(error).split())
            raise ValueError(f"module must run on inputs of shape {tuple(self._x.shape)}, it says: {words}") from error

    def _squared(self) -> FloatArray:
        """The targets and, where they are finite, the outputs at θ₀: what a squared loss squares."""
        with torch.no_grad():
            outputs = self._functional.outputs(self._tensor(self.theta0), self._x).numpy().astype(np.float64)
        return np.append(self.targets, outputs[np.isfinite(outputs)])

    def _targets(self, targets: npt.ArrayLike | Tensor) -> npt.NDArray[Any]:
        n, c = self.n_samples, self.n_outputs
        if self.loss_name == "cross_entropy":
            return _labels(targets, n, c)
        array = _data("targets", targets)
        if self.loss_name == "squared":
            allowed = ((n, 1), (n,)) if c == 1 else ((n, c),)
            if array.shape not in allowed:
                shapes = " or ".join(map(str, reversed(allowed)))
                raise ValueError(f"targets must have shape {shapes} for {n} samples of {c} outputs, got {array.shape}")
            return array.reshape(n, c)
        if len(array) != n:
            raise ValueError(f"targets must have {n} rows, one per sample, got shape {array.shape}")
        return array

    @property
    def theta0(self) -> FloatArray:
        """The parameters that the module came with, (p,)."""
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in self.module.parameters()])
        return flat.numpy().astype(np.float64)

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets as the module and the loss take them."""
        return self._x, self._y

    def _fingerprints(self) -> dict[str, str]:
        """The class, the module without the values of θ, the loss, the data and the options, each with all it reads."""
        own = attributes(self)
        # The private ones of this class follow from the rest; those of a subclass are its own.
        ours = type(self).__module__ == __name__
        kept = {name for name in own if name not in DERIVED and not (ours and name.startswith("_"))}
        parts = {name: own[name] for name in kept} | {"loss": self._functional.loss, "torch": surroundings()}
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return fingerprints({"class": type(self), **parts}, "problem", arguments=trained)

    # --- the protocol of a problem ------------------------------------------------------------------------------------

    def outputs(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        """f(θ, xᵢ) for each index of the batch: (..., b, c)."""
        return self._over(lambda t, i: self._functional.outputs(t, self._x[i]), *self._arguments(theta, batch))

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: self._functional.losses(t, self._x[i], self._y[i]), theta, indices)

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: self._functional.sample_gradients(t, self._x[i], self._y[i]), theta, indices)

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        self._affordable("all per-sample Hessians", indices.shape[-1] * self.n_params**2, DENSE_NUMBERS)
        hessians = self._over(
            lambda t, i: self._functional.sample_hessians(t, self._x[i], self._y[i]),
            theta,
            indices,
            copies=self.n_params,
        )
        return (hessians + np.swapaxes(hessians, -1, -2)) / 2

    def gradient(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        return self._over(lambda t, i: self._functional.gradient(t, self._x[i], self._y[i]), points, indices)

    def hessian(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        self._affordable("a Hessian", self.n_params**2, HESSIAN_NUMBERS)
        hessians = self._over(
            lambda t, i: self._functional.hessian(t, self._x[i], self._y[i]), points, indices, copies=self.n_params
        )
        return (hessians + np.swapaxes(hessians, -1, -2)) / 2

    def hessian_products(self, theta: FloatArray, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """H_B(θ)v for each batch (..., b) and its vector (..., p): (..., p)."""
        return self._over(
            lambda t, i, v: self._functional.product(t, self._x[i], self._y[i], v), theta, batches, vectors=vectors
        )

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∂fᵢ/∂θ for each index: (..., b, c, p)."""
        return self._over(lambda t, i: self._functional.jacobians(t, self._x[i]), theta, indices, copies=self.n_outputs)

    def curvature(self, theta: FloatArray) -> Curvature:
        """All per-sample Hessians: formed where p ≤ 300 (and n p² ≤ 2²⁶), else by their products with vectors."""
        self._check_finite(theta)
        if self.n_params <= DENSE_PARAMS and self.n_samples * self.n_params**2 <= DENSE_NUMBERS:
            return DenseCurvature(self.sample_hessians(theta, np.arange(self.n_samples)))
        return TorchCurvature(self, theta)

    def gauss_newton_curvature(self, theta: FloatArray) -> Curvature:
        """JᵢᵀSᵢJᵢ with Sᵢ = ∇²_f ℓᵢ, by the rows Aᵢ = RᵢᵀJᵢ, Sᵢ = RᵢRᵢᵀ."""
        self._check_finite(theta)
        numbers = self.n_samples * self.n_outputs * self.n_params
        self._affordable("the Jacobians of all samples and outputs", numbers, JACOBIAN_NUMBERS)
        everyone = np.arange(self.n_samples)
        point = self._tensor(theta)
        roots = self._root(self._functional.outputs(point, self._x).detach(), self._y).numpy().astype(np.float64)
        factors = np.swapaxes(roots, -1, -2) @ TorchProblem.sample_jacobians(self, theta, everyone)
        if factors.shape[1] == 1:
            return LowRankCurvature(factors[:, 0])
        return BlockCurvature(factors)

    # --- between numpy and torch --------------------------------------------------------------------------------------

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.as_tensor(_writable(array), dtype=self._kind)

    def _over(
        self,
        function: Callable[..., Tensor],
        theta: FloatArray,
        indices: IntArray,
        *,
        copies: int = 1,
        vectors: FloatArray | None = None,
        per_sample: tuple[int, ...] | None = None,
    ) -> FloatArray:
        """`function` of each (θ, batch[, vectors]) of the broadcast leading axes; one θ is shared, not repeated.

        vectors: (..., p), or (..., b, *per_sample, p). copies: numbers per sample and parameter in the largest array of
        one call, which with `CHUNK_NUMBERS` bounds the memory.
        """
        p, b = self.n_params, indices.shape[-1]
        own = (p,) if per_sample is None else (b, *per_sample, p)
        beside = () if vectors is None else vectors.shape[: vectors.ndim - len(own)]
        axes = np.broadcast_shapes(theta.shape[:-1], indices.shape[:-1], beside)
        shared = theta.size == p
        points = self._tensor(theta.reshape(p) if shared else np.broadcast_to(theta, (*axes, p)).reshape(-1, p))
        rows = torch.as_tensor(_writable(np.broadcast_to(indices, (*axes, b)).reshape(-1, b)))
        extra = [] if vectors is None else [self._tensor(np.broadcast_to(vectors, (*axes, *own)).reshape(-1, *own))]
        chunk = max(1, CHUNK_NUMBERS // (b * p * copies))
        mapped = torch.func.vmap(function, (None if shared else 0, 0, *(0 for _ in extra)), chunk_size=chunk)
        found = mapped(points, rows, *extra).detach().numpy().astype(np.float64, copy=False)
        return np.asarray(found.reshape(*axes, *found.shape[1:]))

    def _check_finite(self, theta: FloatArray) -> None:
        """ValueError that names the layer where an activation of some sample is not finite."""
        point = self._tensor(theta)
        with torch.no_grad():
            finite = torch.isfinite(self._functional.outputs(point, self._x)).all(dim=1)
        if not bool(finite.all()):
            sample = int(torch.nonzero(~finite)[0, 0])
            layer = checks.first_non_finite_layer(self.module, lambda: self._functional.outputs(point, self._x))
            raise ValueError(
                f"theta must give finite activations, but those of {int((~finite).sum())} samples (the first is {sample}) "
                f"are not finite from layer {layer} on"
            )

    def _affordable(self, what: str, numbers: int, limit: int) -> None:
        if numbers > limit:
            raise ValueError(
                f"module is too large for {what}: {numbers:,} numbers ({8 * numbers / 1e9:.1f} GB), at most {limit:,} "
                f"(n_samples = {self.n_samples:,}, n_outputs = {self.n_outputs}, n_params = {self.n_params:,})"
            )


class _ScalarTorchProblem(TorchProblem, NonlinearLeastSquares):
    """One output and squared loss: ℓᵢ = ½rᵢ²."""

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: (self._functional.outputs(t, self._x[i]) - self._y[i])[:, 0], theta, indices)

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∇fᵢ(θ) for each index: (..., b, p)."""
        return super().sample_jacobians(theta, indices)[..., 0, :]

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return self._over(
            lambda t, i, v: self._functional.model_products(t, self._x[i], v),
            theta,
            indices,
            vectors=vectors,
            per_sample=(),
        )

    def gauss_newton_curvature(self, theta: FloatArray) -> LowRankCurvature:
        found = super().gauss_newton_curvature(theta)
        assert isinstance(found, LowRankCurvature)
        return found


class _MultiOutputTorchProblem(TorchProblem, MultiOutputLeastSquares):
    """Several outputs and squared loss: ℓᵢ = ½‖rᵢ‖²."""

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: self._functional.outputs(t, self._x[i]) - self._y[i], theta, indices)

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return self._over(
            lambda t, i, v: self._functional.model_products_of_outputs(t, self._x[i], v),
            theta,
            indices,
            vectors=vectors,
            per_sample=(self.n_outputs,),
            copies=self.n_outputs,
        )


def _writable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Contiguous memory of its own where the array is a view that must not be written to, which torch warns of."""
    return np.ascontiguousarray(array) if array.flags.writeable else np.array(array)


def _data(name: str, value: Any) -> FloatArray:
    """Real numbers with a row per sample, as a copy."""
    array = _validate.array_of(name, value.detach().cpu().numpy() if isinstance(value, Tensor) else value)
    return np.array(_validate.real_array(name, array, ("n", *array.shape[1:])))


def _labels(targets: Any, n: int, c: int) -> IntArray:
    array = _validate.array_of("targets", targets.numpy() if isinstance(targets, Tensor) else targets)
    if c < 2:
        raise ValueError(f"loss='cross_entropy' needs a module of at least 2 outputs, one per class, got {c}")
    if array.shape != (n,):
        raise ValueError(f"targets must be class labels of shape ({n},) for loss='cross_entropy', got {array.shape}")
    if array.dtype.kind not in "iu":
        raise ValueError(f"targets must be integer class labels for loss='cross_entropy', got dtype {array.dtype}")
    if array.min() < 0 or array.max() >= c:
        raise ValueError(
            f"targets must be class labels from 0 to n_outputs - 1 = {c - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


def _loss(loss: Any) -> tuple[str, losses.SampleLoss, Callable[[Tensor, Tensor], Tensor]]:
    """Its name, ℓ(f, y), and the root of its curvature on the outputs."""
    if callable(loss) and not isinstance(loss, str):
        return _source(loss), loss, losses.numerical_root(loss)
    name = _validate.choice("loss", loss, ("squared", "cross_entropy"))
    if name == "squared":
        return name, losses.squared, losses.squared_root
    return name, losses.cross_entropy, losses.cross_entropy_root


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
