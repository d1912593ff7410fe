"""The critical step size of a method that takes the place of the gradient of a batch."""

from __future__ import annotations

import numpy.typing as npt

from esssim.batch_method import BatchMethod
from esssim.dropout import Dropout
from esssim.problems import Problem
from esssim.problems.base import HessianKind
from esssim.sharpness_aware import SharpnessAware
from esssim.stability.dropout import dropout_step_size
from esssim.stability.optimisers import zeroth_order_step_size
from esssim.stability.sharpness_aware import sharpness_aware_step_size
from esssim.zeroth_order import ZerothOrder


def step_size_of(method: BatchMethod, problem: Problem, theta: npt.ArrayLike, hessian: HessianKind) -> float:
    """η_c in mean square at the minimum theta, by the function of the method; that of dropout is Gauss–Newton."""
    if isinstance(method, ZerothOrder):
        return zeroth_order_step_size(problem, theta, method.sampling, hessian=hessian)
    if isinstance(method, SharpnessAware):
        return sharpness_aware_step_size(problem, theta, method.sampling, method.radius, hessian=hessian)
    assert isinstance(method, Dropout)
    return dropout_step_size(problem, theta, method.sampling, method.rate)
