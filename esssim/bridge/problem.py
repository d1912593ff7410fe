"""A torch network with its data as a problem of esssim."""

from __future__ import annotations

import copy
import functools
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
from esssim.bridge import behaviour, checks, derivatives, losses, routes
from esssim.bridge.curvature import TorchCurvature
from esssim.bridge.fingerprints import surroundings
from esssim.bridge.functional import Care, Functional
from esssim.bridge.losses import SampleLoss
from esssim.bridge.points import as_point
from esssim.bridge.samplewise import Samplewise
from esssim.bridge.targets import OneNumber, data, for_loss, labels, whole
from esssim.curvature import BlockCurvature, Curvature, DenseCurvature, LowRankCurvature
from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares, Problem
from esssim.statistics.estimate import in_parts

LARGEST_NETWORK = 10_000_000
# Below both, all per-sample Hessians are formed: 512 MB at most.
DENSE_PARAMS = 300
DENSE_NUMBERS = 2**26
# Numbers in the largest intermediate array: 32 MB.
CHUNK_NUMBERS = 2**22
# Numbers that the layers put out for the samples that are differentiated together: 128 MB, a few times over.
ACTIVATIONS = 2**24
# Numbers in the Jacobians of all samples, 1 GB, and in one Hessian, 200 MB.
JACOBIAN_NUMBERS = 2**27
HESSIAN_NUMBERS = 5000**2
# What does without Hessians.
PRODUCTS = "esssim.sharpness, top_eigenvalues and minibatch_sharpness take their products with vectors"
# Attributes that follow from the others.
DERIVED = {"_x", "_y", "functional", "kind", "loss_name", "root"}

# What a loss decides, and no two of which may disagree.
OF_THE_LOSS = ("gradient", "hessian", "hessian_products", "sample_gradients", "sample_hessians", "sample_losses")

Loss = Literal["squared", "cross_entropy"] | SampleLoss
Dtype = Literal["float64", "float32"] | torch.dtype


class TorchProblem(Problem):
    """ℓᵢ(θ) = ℓ(f(θ, xᵢ), yᵢ) for an `nn.Module` f of up to 10⁷ parameters, θ in `named_parameters` order.

    loss: "squared", ½‖f − y‖²; "cross_entropy", −log softmax(f)_y; or one number ℓ(f, y) by torch operations on a
    sample's outputs (c,) and target (`F.mse_loss` divides by c: it is 2/c times "squared"). inputs: (n, ...), integers
    where the module takes them; targets: (n, c), (n,) for one output, or class labels (n,). dtype: results are always
    float64. tolerance: relative residual of eigenvalues found by iteration. check: compare derivatives with
    differences.

    `module` is a copy; `theta0` (p,) its trained parameters, tied ones once; `notes` names frozen and unused ones.
    theta may be an array, tensor, module or state dict. Squared loss gives a `NonlinearLeastSquares` or
    `MultiOutputLeastSquares`. Raises ValueError for data that do not fit, networks that are too large, modules that mix
    samples, draw at random, or have wrong derivatives (docs/layers.md).
    """

    def __new__(
        cls,
        module: nn.Module | None = None,
        inputs: Any = None,
        targets: Any = None,
        loss: Loss = "squared",
        dtype: Dtype = "float64",
        *,
        tolerance: float | None = None,
        check: bool = True,
    ) -> TorchProblem:
        """The subclass with residuals for squared loss, by the targets' shape; without arguments, as pickle calls
        it.
        """
        if cls is not TorchProblem or targets is None or not (isinstance(loss, str) and loss == "squared"):
            return super().__new__(cls)
        return super().__new__(_ScalarTorchProblem if np.shape(targets)[1:] in ((), (1,)) else _MultiOutputTorchProblem)

    def __init_subclass__(cls) -> None:
        """ValueError for a subclass that changes some of the loss and its derivatives only: nothing else would see
        it.
        """
        changed = [name for name in OF_THE_LOSS if name in vars(cls)]
        left = [name for name in OF_THE_LOSS if getattr(cls, name) is getattr(TorchProblem, name)]
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
        dtype: Dtype = "float64",
        *,
        tolerance: float | None = None,
        check: bool = True,
    ) -> None:
        self.dtype = checks.check_dtype(dtype)
        self.tolerance = checks.check_tolerance(tolerance, self.dtype)
        checks.check_mode(self.dtype)
        checks.check_module(module)
        n_params = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        if n_params > LARGEST_NETWORK:
            raise ValueError(
                f"module must have at most {LARGEST_NETWORK:,} parameters that are trained, got {n_params:,}: freeze "
                "some by requires_grad_(False); sharpness, MiniBS and Gauss–Newton Q_b of the others are lower bounds"
            )
        self.kind = torch.float64 if self.dtype == "float64" else torch.float32
        self.inputs = data("inputs", inputs)
        super().__init__(len(self.inputs), n_params)
        checks.check_held("inputs", self.inputs, self.dtype)
        self.module = checks.own_copy(module, self.kind)
        self.n_outputs = self._take(inputs)
        care = behaviour.needs(self.module, self._x[:3])
        self.loss_name, sample_loss = _loss(loss, self.kind)
        self.targets = self._targets(targets, sample_loss, care)
        kind = torch.int64 if self.loss_name == "cross_entropy" or self.targets.dtype.kind != "f" else self.kind
        self._y = torch.as_tensor(self.targets, dtype=kind)
        self.functional = routes.route(self.module, sample_loss, care, self._start(), self._x, self._y)
        self.root = _root(self.loss_name, sample_loss, isinstance(self.functional, Samplewise))
        if self.loss_name == "squared":
            checks.check_held("outputs and targets", self._squared(), self.dtype, power=2)
        self.notes = self._noted(module)
        near = behaviour.generic_point(self._start(), self.functional.sizes)
        behaviour.check_samples(self.functional, near, self._x)
        if _validate.flag("check", check):
            self._check_derivatives()

    def _take(self, inputs: Any) -> int:
        """Set the inputs of the module, whole numbers where it takes them; the number of its outputs."""
        given = whole(inputs)
        said: list[Exception] = []
        for x in ([] if given is None else [torch.as_tensor(given)]) + [torch.as_tensor(self.inputs, dtype=self.kind)]:
            try:
                n_outputs = behaviour.check_rows(self.module, x[: min(3, len(x))])
            except (RuntimeError, TypeError, IndexError) as error:
                said.append(error)
                continue
            self._x = x
            if not x.is_floating_point():
                self.inputs = x.numpy()
            return n_outputs
        words = " ".join(str(said[-1]).split())
        hint = "; inputs that are indices must be integers" if given is None and "ndices" in words else ""
        raise ValueError(f"module must run on inputs of shape {self.inputs.shape}, it says: {words}{hint}") from said[
            -1
        ]

    def _squared(self) -> FloatArray:
        """The targets and, where they are finite, the outputs at θ₀: what a squared loss squares."""
        with torch.no_grad():
            outputs = self.functional.outputs(self._start(), self._x).numpy().astype(np.float64)
        return np.append(self.targets, outputs[np.isfinite(outputs)])

    def _targets(self, targets: Any, loss: SampleLoss, care: Care) -> npt.NDArray[Any]:
        n, c = self.n_samples, self.n_outputs
        if self.loss_name == "cross_entropy":
            return labels(targets, n, c)
        array = data("targets", targets)
        if self.loss_name == "squared":
            allowed = ((n, 1), (n,)) if c == 1 else ((n, c),)
            if array.shape not in allowed:
                shapes = " or ".join(map(str, reversed(allowed)))
                are_labels = array.shape == (n,) and bool(np.isin(array, np.arange(c)).all())
                hint = '; class labels are for loss="cross_entropy"' if are_labels else ""
                raise ValueError(
                    f"targets must have shape {shapes} for {n} samples of {c} outputs, got {array.shape}{hint}"
                )
            return array.reshape(n, c)
        if len(array) != n:
            raise ValueError(f"targets must have {n} rows, one per sample, got shape {array.shape}")
        assert isinstance(loss, OneNumber)
        with torch.no_grad():
            outputs = Functional(self.module, loss, care).outputs(self._start(), self._x)
        taken: npt.NDArray[Any] = for_loss(loss, outputs, targets, self.kind).numpy()
        return taken

    def _noted(self, module: nn.Module) -> tuple[str, ...]:
        """What a reader of the numbers should know of the parameters."""
        frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
        unused = behaviour.unused_parameters(self.module, self._x)
        if len(unused) == len(self.functional.names):
            raise ValueError(f"module must have a parameter that reaches the outputs, but none of {unused} does")
        notes = [f"constants, as requires_grad=False: {', '.join(frozen)}"] if frozen else []
        notes += [f"do not reach the outputs, so that their derivatives are 0: {', '.join(unused)}"] if unused else []
        return tuple(notes)

    def _check_derivatives(self) -> None:
        """ValueError where derivatives are wrong or not finite; in float64, whatever the dtype."""
        theta = self._start()
        functional, x, y = self.functional, self._x, self._y
        derivatives.check_finite_derivatives(functional, theta, x, y)
        if self.kind == torch.float64:
            derivatives.check_derivatives(functional, theta, x, y)
            return
        double = copy.copy(functional)
        double.module = copy.deepcopy(self.module).to(torch.float64)
        double.loss = (
            OneNumber(functional.loss.loss, torch.float64)
            if isinstance(functional.loss, OneNumber)
            else functional.loss
        )
        x, y = (part.double() if part.is_floating_point() else part for part in (x, y))
        try:
            double.gradient(theta.double(), x[:1], y[:1])
        except RuntimeError:  # a constant of the module in float32
            return
        derivatives.check_derivatives(double, theta.double(), x, y)

    def _start(self) -> Tensor:
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.module.parameters()])

    @property
    def theta0(self) -> FloatArray:
        """The parameters that the module came with, (p,)."""
        return self._start().numpy().astype(np.float64)

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
        loss = self.functional.loss
        parts = {name: own[name] for name in kept} | {"torch": surroundings()}
        # What the caller gave: its wrapper adds nothing that dtype does not say.
        parts["loss"] = loss.loss if isinstance(loss, OneNumber) else loss
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        return fingerprints({"class": type(self), **parts}, "problem", arguments=trained)

    # --- the protocol of a problem ------------------------------------------------------------------------------------

    def check_theta(self, theta: Any, name: str = "theta") -> FloatArray:
        """theta, also as a tensor, a module or a state dict, as a finite float array (..., n_params)."""
        checks.check_mode(self.dtype)
        return super().check_theta(as_point(self.module, theta, name), name)

    def check_point(self, theta: Any, name: str = "theta") -> FloatArray:
        """theta, also as a tensor, a module or a state dict, as one finite point (n_params,)."""
        checks.check_mode(self.dtype)
        return super().check_point(as_point(self.module, theta, name), name)

    def outputs(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        """f(θ, xᵢ) for each index of the batch: (..., b, c)."""
        return self._over(lambda t, i: self.functional.outputs(t, self._x[i]), *self._arguments(theta, batch))

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: self.functional.losses(t, self._x[i], self._y[i]), theta, indices)

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: self.functional.sample_gradients(t, self._x[i], self._y[i]), theta, indices)

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        self._affordable("all per-sample Hessians", indices.shape[-1] * self.n_params**2, DENSE_NUMBERS, PRODUCTS)
        hessians = self._over(
            lambda t, i: self.functional.sample_hessians(t, self._x[i], self._y[i]),
            theta,
            indices,
            copies=self.n_params,
        )
        return (hessians + np.swapaxes(hessians, -1, -2)) / 2

    def gradient(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        return self._mean_over(lambda t, i: self.functional.gradient(t, self._x[i], self._y[i]), points, indices)

    def hessian(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        self._affordable("a Hessian", self.n_params**2, HESSIAN_NUMBERS, PRODUCTS)
        hessians = self._over(
            lambda t, i: self.functional.hessian(t, self._x[i], self._y[i]), points, indices, copies=self.n_params
        )
        return (hessians + np.swapaxes(hessians, -1, -2)) / 2

    def hessian_products(self, theta: FloatArray, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """H_B(θ)v for each batch (..., b) and its vector (..., p): (..., p)."""
        return self._mean_over(
            lambda t, i, v: self.functional.product(t, self._x[i], self._y[i], v), theta, batches, vectors
        )

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∂fᵢ/∂θ for each index: (..., b, c, p)."""
        return self._over(lambda t, i: self.functional.jacobians(t, self._x[i]), theta, indices, copies=self.n_outputs)

    def curvature(self, theta: FloatArray) -> Curvature:
        """All per-sample Hessians: formed where p ≤ 300 (and n p² ≤ 2²⁶), else by their products with vectors."""
        theta = self.check_point(theta)
        self._check_finite(theta)
        if self.n_params <= DENSE_PARAMS and self.n_samples * self.n_params**2 <= DENSE_NUMBERS:
            return DenseCurvature(self.sample_hessians(theta, np.arange(self.n_samples)))
        return TorchCurvature(self, theta)

    def gauss_newton_curvature(self, theta: FloatArray) -> Curvature:
        """JᵢᵀSᵢJᵢ with Sᵢ = ∇²_f ℓᵢ, by the rows Aᵢ = RᵢᵀJᵢ, Sᵢ = RᵢRᵢᵀ."""
        theta = self.check_point(theta)
        self._check_finite(theta)
        derivatives.check_finite_derivatives(self.functional, self._tensor(theta), self._x, self._y)
        numbers = self.n_samples * self.n_outputs * self.n_params
        without = "esssim.bridge.mean_square_enclosure and esssim.bridge.stability_map do without them"
        self._affordable("the Jacobians of all samples and outputs", numbers, JACOBIAN_NUMBERS, without)
        factors = self.gauss_newton_rows(theta, np.arange(self.n_samples))
        if factors.shape[1] == 1:
            return LowRankCurvature(factors[:, 0])
        return BlockCurvature(factors)

    def gauss_newton_rows(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Aᵢ = RᵢᵀJᵢ, with AᵢᵀAᵢ = JᵢᵀSᵢJᵢ, for each index: (b, rows, p)."""
        rows = torch.as_tensor(indices)
        outputs = self.functional.outputs(self._tensor(theta), self._x[rows]).detach()
        roots = self.root(outputs, self._y[rows]).numpy().astype(np.float64)
        return np.swapaxes(roots, -1, -2) @ TorchProblem.sample_jacobians(self, theta, indices)

    # --- between numpy and torch --------------------------------------------------------------------------------------

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.as_tensor(_writable(array), dtype=self.kind)

    def _mean_over(
        self, function: Callable[..., Tensor], theta: FloatArray, batches: IntArray, vectors: FloatArray | None = None
    ) -> FloatArray:
        """`_over` of a mean over the samples of a batch, so many samples at a time as have room for activations."""
        b = batches.shape[-1]
        stretches = [batches[..., first : first + self._together] for first in range(0, b, self._together)]
        parts = (some.shape[-1] / b * self._over(function, theta, some, vectors=vectors) for some in stretches)
        return functools.reduce(np.add, parts) if len(stretches) > 1 else next(parts)

    def _summed_model_products(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        """Σᵢₐ ∇²fᵢₐ vᵢₐ, vectors (n, c, p): (p,); in forward mode where every operation has one."""
        forward = self._has_forward_mode

        def products(t: Tensor, i: Tensor, v: Tensor) -> Tensor:
            if forward:
                return self.functional.summed_model_products(t, self._x[i], v)
            return self.functional.model_products_of_outputs(t, self._x[i], v).sum(dim=(0, 1))

        own = vectors.shape[1:-1]
        stretches = in_parts(np.arange(self.n_samples), vectors[0].size, CHUNK_NUMBERS)
        sums = [self._over(products, theta, some, vectors=vectors[some], per_sample=own) for some in stretches]
        return np.asarray(np.sum(sums, axis=0))

    @functools.cached_property
    def _has_forward_mode(self) -> bool:
        return routes.has_forward_mode(self.functional, self._start(), self._x)

    @functools.cached_property
    def _together(self) -> int:
        """How many samples are taken together."""
        with torch.no_grad():
            _, numbers = behaviour.watched_call(self.functional, self._start(), self._x[:1])
        return max(1, ACTIVATIONS // max(1, numbers))

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
        mapped = self.functional.mapped(function, (None if shared else 0, 0, *(0 for _ in extra)), chunk)
        found = mapped(points, rows, *extra).detach().numpy().astype(np.float64, copy=False)
        if not np.isfinite(found.sum()):
            self.check_derivatives_at(points, rows)
        return np.asarray(found.reshape(*axes, *found.shape[1:]))

    def _check_finite(self, theta: FloatArray) -> None:
        """ValueError that names the layer where an activation of some sample is not finite."""
        point = self._tensor(theta)
        with torch.no_grad():
            finite = torch.isfinite(self.functional.outputs(point, self._x)).all(dim=1)
        if not bool(finite.all()):
            sample = int(torch.nonzero(~finite)[0, 0])
            layer = checks.first_non_finite_layer(self.module, lambda: self.functional.outputs(point, self._x))
            raise ValueError(
                f"theta must give finite activations, but those of {int((~finite).sum())} samples (the first is "
                f"{sample}) "
                f"are not finite from layer {layer} on"
            )

    def check_derivatives_at(self, points: Tensor, batches: Tensor) -> None:
        """ValueError where a sample's derivatives are not finite while its loss is: θ (p,) or (m, p), batches (m,
        b).
        """
        for m, point in enumerate(points.reshape(-1, self.n_params)):
            samples = torch.unique(batches if points.numel() == self.n_params else batches[m])
            try:
                derivatives.check_finite_derivatives(self.functional, point, self._x[samples], self._y[samples])
            except derivatives.NonFiniteDerivatives as error:
                raise derivatives.NonFiniteDerivatives([int(samples[i]) for i in error.samples]) from None

    def _affordable(self, what: str, numbers: int, limit: int, without: str) -> None:
        if numbers > limit:
            raise ValueError(
                f"module is too large for {what}: {numbers:,} numbers ({8 * numbers / 1e9:.1f} GB), at most {limit:,} "
                f"(n_samples = {self.n_samples:,}, n_outputs = {self.n_outputs}, "
                f"n_params = {self.n_params:,}); {without}"
            )


class _ScalarTorchProblem(TorchProblem, NonlinearLeastSquares):
    """One output and squared loss: ℓᵢ = ½rᵢ²."""

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: (self.functional.outputs(t, self._x[i]) - self._y[i])[:, 0], theta, indices)

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∇fᵢ(θ) for each index: (..., b, p)."""
        return super().sample_jacobians(theta, indices)[..., 0, :]

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return self._over(
            lambda t, i, v: self.functional.model_products(t, self._x[i], v),
            theta,
            indices,
            vectors=vectors,
            per_sample=(),
        )

    def summed_model_products(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        return self._summed_model_products(theta, vectors[:, None])

    def gauss_newton_curvature(self, theta: FloatArray) -> LowRankCurvature:
        found = super().gauss_newton_curvature(theta)
        assert isinstance(found, LowRankCurvature)
        return found


class _MultiOutputTorchProblem(TorchProblem, MultiOutputLeastSquares):
    """Several outputs and squared loss: ℓᵢ = ½‖rᵢ‖²."""

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self._over(lambda t, i: self.functional.outputs(t, self._x[i]) - self._y[i], theta, indices)

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return self._over(
            lambda t, i, v: self.functional.model_products_of_outputs(t, self._x[i], v),
            theta,
            indices,
            vectors=vectors,
            per_sample=(self.n_outputs,),
            copies=self.n_outputs,
        )

    def summed_model_products(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        return self._summed_model_products(theta, vectors)


def _writable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Contiguous memory of its own where the array is a view that must not be written to, which torch warns of."""
    return np.ascontiguousarray(array) if array.flags.writeable else np.array(array)


def _loss(loss: Any, kind: torch.dtype) -> tuple[str, SampleLoss]:
    """Its name and ℓ(f, y)."""
    if callable(loss) and not isinstance(loss, str):
        return _source(loss), OneNumber(loss, kind)
    name = _validate.choice("loss", loss, ("squared", "cross_entropy"))
    return name, losses.squared if name == "squared" else losses.cross_entropy


def _root(name: str, loss: SampleLoss, one_by_one: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The root of the curvature of a loss on the outputs: the loss's own `root` where it has one."""
    if name == "squared":
        return losses.squared_root
    if name == "cross_entropy":
        return losses.cross_entropy_root
    numerical = losses.numerical_root(loss, one_by_one=one_by_one)
    own = getattr(loss.loss if isinstance(loss, OneNumber) else loss, "root", None)
    if own is None:
        return numerical

    def root(outputs: Tensor, targets: Tensor) -> Tensor:
        found = own(outputs, targets)
        return numerical(outputs, targets) if found is None else found

    return root


def _source(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
