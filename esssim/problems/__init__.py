"""Problems: empirical risks whose mini-batch Hessians are known exactly."""

from esssim.problems.base import Problem, check_problem
from esssim.problems.curvature import DenseCurvature, LowRankCurvature
from esssim.problems.diagonal import DiagonalLinearNetwork
from esssim.problems.operators import BlockCurvature, Curvature, OperatorCurvature
from esssim.problems.perceptron import Perceptron
from esssim.problems.quadratic import Quadratic
from esssim.problems.regression import LeastSquares, LinearRegression
from esssim.problems.residual import MultiOutputLeastSquares, NonlinearLeastSquares

__all__ = [
    "BlockCurvature",
    "Curvature",
    "DenseCurvature",
    "DiagonalLinearNetwork",
    "LeastSquares",
    "LinearRegression",
    "LowRankCurvature",
    "MultiOutputLeastSquares",
    "NonlinearLeastSquares",
    "OperatorCurvature",
    "Perceptron",
    "Problem",
    "Quadratic",
    "check_problem",
]
