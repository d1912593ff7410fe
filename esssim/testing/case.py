"""A problem at a point, with the scales that rounding is measured in, and what a check says when it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from esssim._validate import FloatArray, IntArray
from esssim.problems import NonFinite, Problem
from esssim.sampling import Reshuffled, Sampling, WithoutReplacement, WithReplacement


@dataclass(frozen=True)
class Case:
    """A problem at a point."""

    problem: Problem
    theta: FloatArray

    @cached_property
    def everyone(self) -> IntArray:
        return np.arange(self.problem.n_samples)

    @cached_property
    def hessians(self) -> FloatArray:
        return np.array(self.problem.sample_hessians(self.theta, self.everyone))

    @cached_property
    def hessian_scale(self) -> float:
        """The largest ‖Hᵢ‖: rounding in any mean of Hessians is a few eps of it."""
        return float(np.linalg.norm(self.hessians, ord=2, axis=(1, 2)).max())

    @cached_property
    def neighbourhood(self) -> FloatArray:
        """θ and points as far from it as θ is large, (2p+3, p): values there show how large a rounded term may be.

        Nearer ones, where the losses are not finite as far as that.
        """
        unit, p = size(self.theta) or 1.0, len(self.theta)
        # Along the axes, and off them: a product of two parameters may vanish on both of its axes.
        steps = unit * np.concatenate((np.eye(p), np.linspace(0.5, 1.0, p)[None]))
        for nearer in (1.0, 0.25, 2.0**-4, 2.0**-8):
            points = np.concatenate((self.theta[None], self.theta + nearer * steps, self.theta - nearer * steps))
            if self._is_finite(points):
                break
        return np.asarray(points)

    def _is_finite(self, points: FloatArray) -> bool:
        problem = self.problem
        try:
            with np.errstate(all="ignore"):
                functions = (problem.sample_losses, problem.sample_gradients, problem.sample_hessians)
                return all(np.isfinite(function(points, self.everyone)).all() for function in functions)
        except (NonFinite, ArithmeticError):
            return False

    @cached_property
    def loss_scale(self) -> float:
        return size(self.problem.sample_losses(self.neighbourhood, self.everyone))

    @cached_property
    def gradient_scale(self) -> float:
        return size(self.problem.sample_gradients(self.neighbourhood, self.everyone))

    @cached_property
    def nearby_hessian_scale(self) -> float:
        return size(self.problem.sample_hessians(self.neighbourhood, self.everyone)) * len(self.theta)

    @cached_property
    def normalised(self) -> FloatArray:
        """Hᵢ in units of their scale, so that squares of them neither over- nor underflow."""
        return self.hessians / (self.hessian_scale or 1.0)

    @cached_property
    def positive_semidefinite(self) -> bool:
        return bool(np.linalg.eigvalsh(self.normalised).min() > -1e-13)

    @cached_property
    def has_positive_curvature(self) -> bool:
        """Whether H has a positive eigenvalue that is not rounding."""
        return bool(np.linalg.eigvalsh(self.normalised.mean(axis=0))[-1] > 1e-10)


def schemes(n_samples: int, limit: int = 3000) -> list[Sampling]:
    """Every scheme at b = 1, 2, 3 and n, where the oracle can go through all draws."""
    sizes = sorted({1, min(2, n_samples), min(3, n_samples), n_samples})
    kinds: tuple[Callable[[int], Sampling], ...] = (WithoutReplacement, WithReplacement, Reshuffled)
    found = [scheme(b) for scheme in kinds for b in sizes]
    return [sampling for sampling in found if sampling.count(n_samples) <= limit]


def require(condition: bool | np.bool_, words: str) -> None:
    """AssertionError with these words unless the condition holds, also under `python -O`."""
    if not condition:
        raise AssertionError(words)


def assert_shape(name: str, array: FloatArray, shape: tuple[int, ...]) -> None:
    require(np.shape(array) == shape, f"{name} must have shape {shape}, got {np.shape(array)}")


def assert_close(
    actual: npt.ArrayLike, expected: npt.ArrayLike, scale: float, tolerance: float = 1e-12, name: str = "the value"
) -> None:
    """|actual − expected| ≤ tolerance·scale; `scale` is the size of the terms that were summed."""
    found, wanted = np.asarray(actual), np.asarray(expected)
    off = np.abs(found - wanted)
    if off.max() <= tolerance * scale:
        return
    worst = np.unravel_index(int(off.argmax()), off.shape)
    where = f" at {tuple(int(k) for k in worst)}" if off.ndim else ""
    numbers = (
        f"{np.broadcast_to(found, off.shape)[worst]:.9g}, expected {np.broadcast_to(wanted, off.shape)[worst]:.9g}"
    )
    raise AssertionError(f"{name}{where} is {numbers}: off by {off[worst]:.3g}, allowed {tolerance * scale:.3g}")


def size(array: FloatArray) -> float:
    return float(np.abs(array).max())


def assert_at_most(smaller: float | np.floating, larger: float | np.floating, slack: float, words: str) -> None:
    """smaller ≤ larger + slack; `words` says what the inequality is."""
    require(
        smaller <= larger + slack,
        f"{words}: {float(smaller):.9g} is above {float(larger):.9g} by more than {slack:.3g}",
    )


def assert_refuses(function: Callable[[], object], words: str) -> None:
    """A ValueError that contains these words."""
    try:
        found = function()
    except ValueError as error:
        require(words in str(error), f"an error with the words {words!r} was expected, got {error}")
    else:
        raise AssertionError(f"an error with the words {words!r} was expected, got {found}")
