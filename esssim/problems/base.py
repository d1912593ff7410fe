"""The protocol of a problem: an empirical risk with per-sample losses, gradients and Hessians."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._fingerprint import attributes, fingerprint, fingerprints
from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature, DenseCurvature
from esssim.problems import boundary, derivatives

HessianKind = Literal["full", "gauss_newton"]


class Problem(ABC):
    """Empirical risk L(θ) = (1/n) Σᵢ ℓᵢ(θ); mini-batch risk L_B = mean of ℓᵢ over the b indices of B.

    To add a problem, subclass and write four methods: ``__init__`` (calls ``super().__init__(n_samples, n_params)``),
    ``sample_losses``, ``sample_gradients`` and ``sample_hessians``. Everything else in the package then works on it.

    Shapes: ``theta`` is (..., p) and ``batch`` an integer array (..., b), or None for all samples; their leading axes
    broadcast against each other as in numpy.

    What a subclass returns is checked at each call: real, finite, of this shape. At the first point where it is used
    its derivatives are compared with its losses; ``check = False`` skips that. InvalidProblem names the method and the
    sample. `esssim.testing.check_problem` is the full battery.
    """

    check: bool = True
    # The last axes of what each method returns: b samples, p parameters, c outputs.
    result_axes: ClassVar[dict[str, str]] = {
        "sample_losses": "b",
        "sample_gradients": "bp",
        "sample_hessians": "bpp",
        "loss": "",
        "gradient": "p",
        "hessian": "pp",
    }
    _is_guarded: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not boundary.is_ours(cls):
            cls._is_guarded = True
            boundary.guard(cls)

    def __init__(self, n_samples: int, n_params: int) -> None:
        self.n_samples = _validate.integer("n_samples", n_samples, 1)
        self.n_params = _validate.integer("n_params", n_params, 1)

    @abstractmethod
    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """ℓᵢ(θ) for each index i: theta (..., p), indices (..., b) -> (..., b)."""

    @abstractmethod
    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """∇ℓᵢ(θ) for each index i: theta (..., p), indices (..., b) -> (..., b, p)."""

    @abstractmethod
    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """∇²ℓᵢ(θ) for each index i: theta (..., p), indices (..., b) -> (..., b, p, p), symmetric."""

    def loss(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        """L_B(θ) = mean of ℓᵢ(θ) over the batch, shape (...)."""
        return self.sample_losses(*self._arguments(theta, batch)).mean(axis=-1)

    def gradient(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        """g_B(θ) = mean of ∇ℓᵢ(θ) over the batch, shape (..., p)."""
        return self.sample_gradients(*self._arguments(theta, batch)).mean(axis=-2)

    def hessian(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        """H_B(θ) = mean of ∇²ℓᵢ(θ) over the batch, shape (..., p, p)."""
        return self.sample_hessians(*self._arguments(theta, batch)).mean(axis=-3)

    def curvature(self, theta: FloatArray) -> Curvature:
        """All per-sample Hessians at one theta (p,), in the structured form that picks the algorithms."""
        hessians = self.sample_hessians(theta, np.arange(self.n_samples))
        return DenseCurvature(check_symmetric("sample_hessians", hessians))

    def gauss_newton_curvature(self, theta: FloatArray) -> Curvature:
        """The per-sample Gauss–Newton matrices JᵢᵀJᵢ, where the problem is a least-squares one."""
        raise ValueError(f"hessian='gauss_newton' needs a problem with residuals, {type(self).__name__} has none")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the numbers: equal exactly when the problems are equal, whatever the process.

        Raises `Unfingerprintable`, a ValueError, that names a part which cannot be looked into, such as an open file.
        """
        return fingerprint(self._fingerprints())

    def _fingerprints(self) -> dict[str, str]:
        """A fingerprint for each part that decides the numbers: the class with its code, and every attribute."""
        return fingerprints({"class": type(self), **attributes(self)}, "problem")

    def check_theta(self, theta: npt.ArrayLike, name: str = "theta") -> FloatArray:
        """theta as a finite float array (..., n_params); ValueError that names what is wrong otherwise."""
        return _validate.real_array(name, theta, ("...", self.n_params))

    def check_point(self, theta: npt.ArrayLike, name: str = "theta") -> FloatArray:
        """theta as one finite point (n_params,)."""
        point = _validate.real_array(name, theta, (self.n_params,))
        if self._is_guarded:
            derivatives.check_once(self, point)
        return point

    def check_start(self, theta: FloatArray) -> None:
        """NonFinite where a loss or gradient of a sample is not finite at the start of a run: there it is no
        divergence.
        """
        if self._is_guarded:
            derivatives.check_once(self, theta)
            everyone = np.arange(self.n_samples)
            self.sample_losses(theta, everyone), self.sample_gradients(theta, everyone)

    def _arguments(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None) -> tuple[FloatArray, IntArray]:
        points, indices = self.check_theta(theta), self._indices(batch)
        try:
            np.broadcast_shapes(points.shape[:-1], indices.shape[:-1])
        except ValueError:
            raise ValueError(
                "theta and batch must have leading axes that broadcast, "
                f"got the shapes {points.shape} and {indices.shape}"
            ) from None
        return points, indices

    def _indices(self, batch: npt.ArrayLike | None) -> IntArray:
        return np.arange(self.n_samples) if batch is None else _validate.batches(batch, self.n_samples)


def check_problem(problem: Problem) -> None:
    """ValueError unless it is one."""
    _validate.instance("problem", problem, Problem, "LinearRegression(inputs, targets)")
    if not hasattr(problem, "n_params"):
        raise boundary.InvalidProblem(
            f"{type(problem).__name__}.__init__ must call super().__init__(n_samples, n_params)"
        )


def curvature_of(problem: Problem, theta: FloatArray, hessian: HessianKind) -> Curvature:
    """The per-sample Hessians at one theta (p,), or their Gauss–Newton matrices; ValueError for another word."""
    _validate.choice("hessian", hessian, ("full", "gauss_newton"))
    return problem.curvature(theta) if hessian == "full" else problem.gauss_newton_curvature(theta)


def check_symmetric(name: str, matrices: FloatArray) -> FloatArray:
    """`matrices` (..., p, p) in float64, symmetrised to the last bit, if symmetric to the precision of their dtype.

    That is 1e-10 of their largest entry in float64, 1e-4 in float32.
    """
    allowed = 1e-4 if matrices.dtype == np.float32 else 1e-10
    matrices = np.asarray(matrices, dtype=np.float64)
    transposed = np.swapaxes(matrices, -1, -2)
    largest = np.abs(matrices).max(axis=(-1, -2), keepdims=True)
    asymmetry = float((np.abs(matrices - transposed) / np.maximum(largest, boundary.SUBNORMAL)).max())
    if not asymmetry <= allowed:
        raise ValueError(f"{name} must be symmetric, got a relative asymmetry of {asymmetry:.2g}")
    return matrices / 2 + transposed / 2
