"""The linear algebra of a stiff step: (I − cF)x = y for a Jacobian F that is known in factors, never as a (p, p)
matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.integrate import BDF
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import LinearOperator, cg

from esssim._validate import FloatArray

# Of the inner solution: a Newton iteration corrects what it leaves.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class StiffJacobian:
    """F = −AᵀA + Σ_q d_q⊗g_q: what is stiff in the flow, its descent to the solutions and its distance to the wall.

    rows: A (m, p); driven: the d_q (q, p); gradients: the g_q (q, p); modes: the rows of UᵀA (r, p), U leading
    eigenvectors of AAᵀ, all of its range where A is None: UᵀA then stands for A. scale: c of I − cF.
    """

    modes: FloatArray
    driven: FloatArray
    gradients: FloatArray
    rows: FloatArray | None = None
    scale: float = 1.0
    # numpy's scalars leave the product with F to F.
    __array_ufunc__ = None

    @classmethod
    def zero(cls, size: int) -> StiffJacobian:
        """F = 0."""
        none = np.zeros((0, size))
        return cls(none, none, none)

    def __rmul__(self, scale: float) -> StiffJacobian:
        return StiffJacobian(self.modes, self.driven, self.gradients, self.rows, scale * self.scale)

    def dense(self) -> FloatArray:
        """scale·F (p, p)."""
        rows = self.modes if self.rows is None else self.rows
        return self.scale * (self.driven.T @ self.gradients - rows.T @ rows)

    @cached_property
    def _shrinkage(self) -> FloatArray:
        """c/(1 + cλ) (r,), for the eigenvalues λ of AAᵀ."""
        return self.scale / (1.0 + self.scale * np.einsum("jp,jp->j", self.modes, self.modes))

    @cached_property
    def _descended(self) -> FloatArray:
        return np.array([self._without_wall(driven) for driven in self.driven]).reshape(self.driven.shape)

    @cached_property
    def _gains(self) -> FloatArray:
        """c(1 − cGD)⁻¹ (q, q), D the columns of `_descended` and G the rows g_q."""
        count = len(self.driven)
        return np.asarray(self.scale * np.linalg.inv(np.eye(count) - self.scale * (self.gradients @ self._descended.T)))

    def solve(self, right: FloatArray) -> FloatArray:
        """(I − cF)⁻¹y (p,): the wall by Sherman, Morrison and Woodbury."""
        found = self._without_wall(right)
        return np.asarray(found + (self._gains @ (self.gradients @ found)) @ self._descended)

    def _without_wall(self, right: FloatArray) -> FloatArray:
        """(I + cAᵀA)⁻¹y: in closed form on the modes, by conjugate gradients beyond them."""
        found = self._on_modes(right)
        if self.rows is None:
            return found
        rows, size = self.rows, len(right)
        operator = LinearOperator((size, size), lambda x: x + self.scale * ((rows @ x) @ rows), dtype=np.float64)
        near = LinearOperator((size, size), self._on_modes, dtype=np.float64)
        found, failed = cg(operator, right, x0=found, rtol=TOLERANCE, M=near)
        if failed:
            raise RuntimeError("the linear solver of a stiff step did not converge")
        return np.asarray(found)

    def _on_modes(self, right: FloatArray) -> FloatArray:
        return np.asarray(right - (self._shrinkage * (self.modes @ right)) @ self.modes)


class _Identity:
    def __sub__(self, scaled: StiffJacobian) -> StiffJacobian:
        return scaled


class FactoredBDF(BDF):  # type: ignore[misc]
    """scipy's BDF with a `StiffJacobian`, O(mp) a step where a factorisation of I − cF would take O(p³).

    The solver keeps its linear algebra in four attributes (J, I, lu, solve_lu), and that is all it asks of them.
    """

    def __init__(
        self, velocity: Callable[[float, FloatArray], FloatArray], start: FloatArray, stop: float,
        jacobian: Callable[[float, FloatArray], StiffJacobian], **tolerances: Any,
    ) -> None:  # fmt: skip
        size = len(start)
        super().__init__(velocity, 0.0, start, stop, jac=csc_matrix((size, size)), **tolerances)
        # The first step subtracts a row of its table that nothing has written yet, and numpy may warn of what lies
        # there.
        self.D[2:] = 0.0
        self.jac, self.J, self.I = jacobian, jacobian(0.0, start), _Identity()
        self.lu, self.solve_lu = lambda system: system, lambda system, right: system.solve(right)
