"""Problems: empirical risks whose mini-batch Hessians are known exactly."""

from esssim.problems.base import Problem, check_problem
from esssim.problems.boundary import InvalidProblem, NonFinite
from esssim.problems.diagonal import DiagonalLinearNetwork
from esssim.problems.logistic import LogisticNetwork
from esssim.problems.perceptron import Perceptron
from esssim.problems.preconditioned import preconditioned
from esssim.problems.quadratic import Quadratic
from esssim.problems.quadratic_model import QuadraticModel
from esssim.problems.regression import LeastSquares, LinearRegression
from esssim.problems.residual import MultiOutputLeastSquares, NonlinearLeastSquares

# What label noise is added to: the gradient of a sample is linear in its targets, with the slope −Jᵢ.
Labelled = NonlinearLeastSquares | MultiOutputLeastSquares | LogisticNetwork

__all__ = [
    "DiagonalLinearNetwork",
    "InvalidProblem",
    "LeastSquares",
    "LinearRegression",
    "LogisticNetwork",
    "MultiOutputLeastSquares",
    "NonFinite",
    "NonlinearLeastSquares",
    "Perceptron",
    "Problem",
    "Quadratic",
    "QuadraticModel",
    "check_problem",
    "preconditioned",
]
