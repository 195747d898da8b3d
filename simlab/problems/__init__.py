"""Objectives: one file each; `Problem` says what they share."""

from simlab.problems.base import Problem
from simlab.problems.least_squares import LeastSquares
from simlab.problems.logistic import LogisticRegression
from simlab.problems.model import ModelProblem
from simlab.problems.neural_network import NeuralNetwork
from simlab.problems.nonconvex_logistic import NonconvexLogistic
from simlab.problems.quadratic import Quadratic

__all__ = [
    "LeastSquares",
    "LogisticRegression",
    "ModelProblem",
    "NeuralNetwork",
    "NonconvexLogistic",
    "Problem",
    "Quadratic",
]
